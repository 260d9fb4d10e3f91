#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

namespace junto {
namespace {

volatile sig_atomic_t pending = 0;
struct sigaction former;

void on_interrupt(int) {
  // Nobody took the first one: the program hangs, and the user wants out.
  if (pending != 0) _exit(130);
  pending = 1;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  pending = 0;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: a read from the keyboard ends with EINTR
  sigaction(SIGINT, &action, &former);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &former, nullptr);
}

bool interrupted() {
  return pending != 0;
}

bool take_interrupt() {
  const bool was = pending != 0;
  pending = 0;
  return was;
}

}  // namespace junto
