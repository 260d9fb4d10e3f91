// Models of whole words: WordPiece (BERT) and WordLevel.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/tokenizer/vocabulary.h"

namespace junto::text {

/// Greedy longest match from the left; later parts of a word carry `continuing_prefix`. A word that cannot be covered,
/// or has more than `max_chars` characters, is `unk`.
class WordPiece {
 public:
  WordPiece(const Vocabulary& vocabulary, std::string continuing_prefix, std::size_t max_chars, TokenId unk);
  /// `forbidden` [V], may be null: tokens that may not come out.
  void encode(std::string_view piece, const std::vector<std::uint8_t>* forbidden, std::vector<TokenId>& out) const;

 private:
  ByteTrie first_, later_;
  std::size_t max_chars_;
  TokenId unk_;
};

/// A word is its token, or `unk` (kNoToken: it is left out).
struct WordLevel {
  TokenId unk = kNoToken;
};

}  // namespace junto::text
