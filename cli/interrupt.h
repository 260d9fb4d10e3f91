// Ctrl-C: ends the answer, not the program.
#pragma once

#include <atomic>

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
const std::atomic<bool>& interrupt_flag();

/// Returns the flag and clears it.
bool take_interrupt();

}  // namespace junto
