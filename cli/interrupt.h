// Ctrl-C: ends the answer, not the program.
#pragma once

namespace junto {

/// While one lives, SIGINT sets a flag; a second SIGINT before the flag is taken ends the program as usual.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

/// Whether Ctrl-C came since the last take_interrupt().
bool interrupted();

/// Returns interrupted() and clears it.
bool take_interrupt();

}  // namespace junto
