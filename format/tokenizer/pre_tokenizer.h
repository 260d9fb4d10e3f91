// Cutting a text into pieces that are tokenised one by one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "format/tokenizer/regex.h"

namespace junto::text {

/// Pieces of one text, in order. `at_start`: the piece begins where the whole input begins.
struct Pieces {
  struct Piece {
    std::size_t begin, end;
    bool at_start;
  };
  std::string text;
  std::vector<Piece> pieces;
  std::string_view view(const Piece& piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
};

/// Where a Split's matches go: dropped; pieces of their own; joined to the piece before, to the piece after; or
/// neighbouring matches joined to one piece.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// What a Split looks for.
struct AnyOf {  // one character with one of these CharFlags, or of ASCII's punctuation
  unsigned flags;
  bool ascii_punctuation = false;
};
using SplitPattern = std::variant<Regex, std::string, AnyOf>;

struct Split {
  SplitPattern pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what does not match counts as the match
};
struct ByteLevelSplit {  // GPT-2's: optional cut by its pattern, then bytes spelled as characters
  bool add_prefix_space;
  std::optional<Regex> regex;
  bool spell = true;  // false in last place: the model takes raw bytes, which is the same and faster
};
struct Metaspace {
  enum class Prepend { kAlways, kFirst, kNever };
  std::string replacement = "\u2581";
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};
struct FixedLength {
  std::size_t chars;  // at least 1
};

using PreTokenizerStep = std::variant<Split, ByteLevelSplit, Metaspace, FixedLength>;

/// Runs the steps one after the other; each cuts the pieces of the one before. No piece is empty.
void pre_tokenize(const std::vector<PreTokenizerStep>& steps, const Deadline& deadline, Pieces& pieces);

/// GPT-2's own pattern.
extern const std::string_view kGpt2Pattern;

}  // namespace junto::text
