#include "base/sigbus.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/error.h"

namespace junto {

// Ranges form a list that only grows: a signal handler may walk it at any moment, in any thread, without a lock. A
// range that is given up is marked free (size 0) and taken again by a later guard.
struct MappedRange {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::size_t> size{0};
  std::atomic<const std::string*> message{nullptr};
  MappedRange* next = nullptr;
};

namespace {

std::atomic<MappedRange*> first_range{nullptr};
std::mutex ranges_mutex;  // writers only
struct sigaction previous_action;

// Runs in a signal handler: only async-signal-safe calls and lock-free atomics.
void on_sigbus(int, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const bool raised_by_access = info->si_code > 0;
  for (const MappedRange* range = first_range.load(); raised_by_access && range; range = range->next) {
    if (address - range->begin.load() < range->size.load()) {
      const std::string* message = range->message.load();
      // Threads may fault together: the first one speaks for all.
      static std::atomic<bool> spoken{false};
      while (spoken.exchange(true)) pause();
      [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, message->data(), message->size());
      _exit(1);
    }
  }
  // Not ours: an access repeats itself on return and reaches the previous action; a signal that was sent does not.
  sigaction(SIGBUS, &previous_action, nullptr);
  if (!raised_by_access) raise(SIGBUS);
}

void install_handler() {
  struct sigaction action = {};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous_action);
}

MappedRange* free_range() {
  for (MappedRange* range = first_range.load(); range; range = range->next) {
    if (range->message.load() == nullptr) return range;
  }
  auto* range = new MappedRange;  // lives as long as the program: the handler may be reading it
  range->next = first_range.load();
  first_range.store(range);
  return range;
}

}  // namespace

SigbusGuard::SigbusGuard(const void* begin, std::size_t size, const std::string& file) {
  auto message =
      std::make_unique<std::string>("junto: " + printable(file, 1000) + ": truncated or unreadable while mapped\n");
  const std::lock_guard lock(ranges_mutex);
  static const bool installed = (install_handler(), true);
  static_cast<void>(installed);
  range_ = free_range();
  range_->message.store(message.release());
  range_->begin.store(reinterpret_cast<std::uintptr_t>(begin));
  range_->size.store(size);  // last: from here on the handler matches it
}

SigbusGuard::~SigbusGuard() {
  const std::lock_guard lock(ranges_mutex);
  range_->size.store(0);
  delete range_->message.exchange(nullptr);
}

}  // namespace junto
