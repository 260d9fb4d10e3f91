#include "base/log.h"

#include <unistd.h>

#include <cstdio>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace junto {
namespace {

struct Warnings {
  std::mutex mutex;
  WarningSink sink;
  std::set<std::string, std::less<>> said;
};

Warnings& warnings() {
  static Warnings instance;
  return instance;
}

// Texts may quote files: without a bound, a hostile file with a million odd tensors would fill the memory.
constexpr std::size_t kMaxRemembered = 1000;

void emit(const Warnings& state, std::string_view text) {
  if (state.sink) return state.sink(text);
  // A progress line may stand there, without an end: the warning replaces it, and it is drawn again below.
  const char* clear_line = isatty(STDERR_FILENO) ? "\r\x1b[K" : "";
  std::fprintf(stderr, "%sjunto: warning: %.*s\n", clear_line, static_cast<int>(text.size()), text.data());
}

}  // namespace

void warn(std::string_view text) {
  Warnings& state = warnings();
  const std::lock_guard lock(state.mutex);
  emit(state, text);
}

void warn_once(std::string_view text) {
  Warnings& state = warnings();
  const std::lock_guard lock(state.mutex);
  if (state.said.contains(text) || state.said.size() >= kMaxRemembered) return;
  state.said.emplace(text);
  emit(state, text);
}

WarningSink set_warning_sink(WarningSink sink) {
  Warnings& state = warnings();
  const std::lock_guard lock(state.mutex);
  return std::exchange(state.sink, std::move(sink));
}

}  // namespace junto
