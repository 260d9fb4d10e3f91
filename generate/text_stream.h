// From the bytes of tokens to text that may be shown: whole UTF-8 characters, and nothing of a stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace junto {

/// Joins the bytes that tokens add. What push() and finish() return is valid UTF-8 and never taken back: an unfinished
/// character is held until it is whole, and the beginning of a stop string until it is something else.
class TextStream {
 public:
  /// Empty strings in `stop` are ignored.
  explicit TextStream(std::vector<std::string> stop = {});

  /// Adds bytes and returns what can be shown by now. After a stop string nothing more is returned.
  std::string push(std::string_view bytes);

  /// Returns what was held back; bytes that never became a character are U+FFFD.
  std::string finish();

  /// The stop string that was met (of several that end at once, the one that began first), else empty.
  const std::string& stopped_by() const { return stopped_by_; }
  bool stopped() const { return !stopped_by_.empty(); }

 private:
  std::string take(bool all);

  std::vector<std::string> stop_;
  std::string bytes_;  // the tail that may be part of a character
  std::string text_;   // valid UTF-8 that may be part of a stop string
  std::string stopped_by_;
};

/// Bytes at the end of `bytes` that may become a character when more come: 0 to 3.
std::size_t unfinished_utf8(std::string_view bytes);

}  // namespace junto
