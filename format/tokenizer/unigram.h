// Unigram: the segmentation of the highest total score (Kudo, arXiv 1804.10959).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "format/tokenizer/piece_cache.h"
#include "format/tokenizer/vocabulary.h"

namespace junto::text {

class Unigram {
 public:
  /// `scores` [V], log probabilities, finite. `unk` may be kNoToken: then unknown characters are an error.
  Unigram(const Vocabulary& vocabulary, std::vector<double> scores, TokenId unk, bool byte_fallback);
  /// `forbidden` [V], may be null: tokens that may not come out. Throws Error "`where`: ..." where there is no `unk`.
  void encode(const Vocabulary& vocabulary, std::string_view piece, const std::vector<std::uint8_t>* forbidden,
              std::string_view where, PieceCache& cache, std::vector<TokenId>& out) const;
  const std::vector<double>& scores() const { return scores_; }
  TokenId unk() const { return unk_; }
  bool byte_fallback() const { return byte_fallback_; }

 private:
  void encode_one(const Vocabulary& vocabulary, std::string_view piece, const std::vector<std::uint8_t>* forbidden,
                  std::string_view where, std::vector<TokenId>& out) const;
  void unknown(const Vocabulary& vocabulary, std::string_view text, const std::vector<std::uint8_t>* forbidden,
               std::vector<TokenId>& out) const;
  std::vector<double> scores_;
  std::vector<TokenId> byte_tokens_;  // [256] or empty
  ByteTrie trie_;
  TokenId unk_;
  double unk_score_;
  bool byte_fallback_;
};

}  // namespace junto::text
