// Prompt lookup: what followed the last occurrence of the text's end is a guess at what comes now (Saxena, "Prompt
// Lookup Decoding", 2023; Yang et al., arXiv 2304.04487). It costs no computation worth a name, and it is good where a
// text repeats itself: edited code, quotations, lists.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace junto {

class PromptLookup {
 public:
  /// Lengths of the ends that are looked up, longest first. The longer one is found, the better is the guess.
  static constexpr std::array<int, 4> kLengths = {8, 5, 3, 2};

  /// Takes the text so far. Cheap where it goes on from the one of the last call; indexed anew where it does not.
  void read(std::span<const std::int32_t> tokens);

  /// Replaces `out` by `count` tokens that followed the last earlier occurrence of the text's end, a text that runs
  /// into its own end being repeated, and returns the index in kLengths of the end that was found; -1 and no tokens
  /// where there is none. Ends with tokens that are none (kNoToken) are not looked up.
  int guess(int count, std::vector<std::int32_t>& out) const;

 private:
  std::uint64_t key(std::size_t end, int length) const;

  std::vector<std::int32_t> tokens_;
  std::size_t indexed_ = 0;  // ends before this place are in the index: what follows them is known
  std::array<std::unordered_map<std::uint64_t, std::size_t>, kLengths.size()> place_after_;  // the last one
};

}  // namespace junto
