// A mapped file that shrinks, or whose disk fails, raises SIGBUS at the first touch of the missing page. Users get one
// line naming the file, and exit status 1, instead of a crash.
#pragma once

#include <cstddef>
#include <string>

namespace junto {

/// A registered mapping; the name stays valid while it lives.
class SigbusGuard {
 public:
  /// From now on a SIGBUS inside [begin, begin + size) prints `junto: <file>: truncated or unreadable while mapped` and
  /// exits with status 1. The first guard installs the handler; a SIGBUS elsewhere goes where it went before.
  SigbusGuard(const void* begin, std::size_t size, const std::string& file);
  ~SigbusGuard();
  SigbusGuard(const SigbusGuard&) = delete;
  SigbusGuard& operator=(const SigbusGuard&) = delete;

 private:
  struct MappedRange* range_;
};

}  // namespace junto
