// Errors that users see. A user's mistake (bad file, bad option) throws Error; a programmer's mistake asserts.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace junto {

/// One line for the user: what is wrong, where, what was expected. Programs print it on stderr and exit with status 1.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

/// Throws `where: what`, where being a file name or an option, and what naming field, found and expected:
/// fail("a.gguf", "expert_used_count is 9, expected 1..8").
[[noreturn]] void fail(std::string_view where, std::string_view what);

/// `text` with control characters escaped and cut to `limit` bytes, for quoting untrusted names in an error.
std::string printable(std::string_view text, std::size_t limit = 80);

/// The candidate nearest to `word` by edit distance, or an empty view where none is near enough to suggest.
template <class Range>
std::string_view nearest(std::string_view word, const Range& candidates);

/// Levenshtein distance in bytes.
std::size_t edit_distance(std::string_view a, std::string_view b);

template <class Range>
std::string_view nearest(std::string_view word, const Range& candidates) {
  std::string_view best;
  std::size_t best_distance = word.size() / 3 + 2;
  for (const auto& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) best = candidate, best_distance = distance;
  }
  return best;
}

}  // namespace junto
