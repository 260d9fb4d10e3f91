// SentencePiece's own BPE, which has scores instead of merges: GGUF's tokenizer model "llama".
#pragma once

#include <string_view>
#include <vector>

#include "format/tokenizer/piece_cache.h"
#include "format/tokenizer/space_cuts.h"
#include "format/tokenizer/vocabulary.h"

namespace junto::text {

/// Joins the two neighbours whose text is the token of the highest score (ties: leftmost) until none is a token.
class SentencePieceBpe {
 public:
  /// `scores` [V]. `unk` stands for characters that have neither token nor bytes; it may be kNoToken: they are left
  /// out.
  SentencePieceBpe(const Vocabulary& vocabulary, std::vector<float> scores, TokenId unk);
  /// `forbidden` [V], may be null: tokens that may not come out.
  void encode(const Vocabulary& vocabulary, std::string_view piece, const std::vector<std::uint8_t>* forbidden,
              PieceCache& cache, std::vector<TokenId>& out) const;
  const std::vector<float>& scores() const { return scores_; }

 private:
  void encode_one(const Vocabulary& vocabulary, std::string_view piece, const std::vector<std::uint8_t>* forbidden,
                  std::vector<TokenId>& out) const;
  std::vector<float> scores_;
  std::vector<TokenId> byte_tokens_;  // [256]
  SpaceCuts cuts_;
  TokenId unk_;
};

}  // namespace junto::text
