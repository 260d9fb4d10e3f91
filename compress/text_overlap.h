// Does a calibration text hold what a model is tested on? Sentences are compared by runs of eight words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace junto {

/// Runs of eight words (letters and digits, case folded in ASCII; the rest parts words), by hash.
class EightGrams {
 public:
  void add(std::string_view text);
  /// How many runs of `text` have been added here.
  std::int64_t shared_with(std::string_view text) const;
  std::size_t size() const { return hashes_.size(); }

 private:
  std::unordered_set<std::uint64_t> hashes_;
};

struct CleanText {
  std::string text;
  std::int64_t paragraphs = 0;  // that there were
  std::int64_t dropped = 0;     // that shared a run with the tests
  std::int64_t shared = 0;      // runs that `text` shares all the same, across paragraphs
};

/// `text` without the paragraphs (lines) that share a run of eight words with `tests`.
CleanText without_overlap(std::string_view text, const EightGrams& tests);

}  // namespace junto
