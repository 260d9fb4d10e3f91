#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

namespace junto {
namespace {

std::atomic<bool> pending = false;
static_assert(std::atomic<bool>::is_always_lock_free);  // so that a signal handler may set it
struct sigaction former;

void on_interrupt(int) {
  // Nobody took the first one: the program hangs, and the user wants out.
  if (pending.exchange(true)) _exit(130);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  pending = false;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: a read from the keyboard ends with EINTR
  sigaction(SIGINT, &action, &former);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &former, nullptr);
}

const std::atomic<bool>& interrupt_flag() {
  return pending;
}

bool take_interrupt() {
  return pending.exchange(false);
}

}  // namespace junto
