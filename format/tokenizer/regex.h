// Compiled patterns, bounded in time and memory whatever pattern and text.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace junto::text {

/// A part of a text, in bytes.
struct Span {
  std::size_t begin = 0, end = 0;
};

/// When one call's pattern matching has taken too long. Starts when made.
class Deadline {
 public:
  /// `text_bytes` of text may take ten seconds and ten microseconds a byte.
  explicit Deadline(std::size_t text_bytes)
      : end_(std::chrono::steady_clock::now() + std::chrono::seconds(10) +
             std::chrono::microseconds(10) * static_cast<std::int64_t>(text_bytes)) {}
  bool passed() const { return std::chrono::steady_clock::now() > end_; }

 private:
  std::chrono::steady_clock::time_point end_;
};

class Regex {
 public:
  /// Compiles a pattern in Oniguruma's Ruby syntax. Throws Error "`where`: ..." naming the pattern.
  Regex(std::string_view pattern, std::string_view where);

  /// Appends every match in `text` (valid UTF-8), leftmost first; an empty match directly behind the one before is
  /// passed over. Throws Error where the match limit or the deadline is exceeded.
  void find_all(std::string_view text, const Deadline& deadline, std::vector<Span>& matches) const;

  const std::string& pattern() const { return pattern_; }

 private:
  struct Compiled;
  std::string pattern_, where_;
  bool takes_stand_ins_ = true;  // unicode_versions.h
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace junto::text
