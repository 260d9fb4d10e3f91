// Byte-pair encoding: byte-level (GPT-2) and SentencePiece-style with byte fallback.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/tokenizer/piece_cache.h"
#include "format/tokenizer/space_cuts.h"
#include "format/tokenizer/vocabulary.h"

namespace junto::text {

struct BpeOptions {
  TokenId unk = kNoToken;
  bool fuse_unk = false;
  bool byte_fallback = false;  // characters without a token become <0xHH> tokens
  bool ignore_merges = false;  // a piece that is a token is that token, whatever its merges
  bool raw_bytes = false;      // pieces are raw bytes, the vocabulary spells them as ByteLevel
  std::string continuing_prefix, end_suffix;
};

/// Byte-pair encoding (Sennrich et al., arXiv 1508.07909) with ranked merges.
class Bpe {
 public:
  /// `merges`, best first, are of tokens of `vocabulary`; throws Error "`where`: ..." for others.
  Bpe(const Vocabulary& vocabulary, const std::vector<std::pair<std::string, std::string>>& merges, BpeOptions options,
      std::string_view where);
  void encode(const Vocabulary& vocabulary, std::string_view piece, PieceCache& cache, std::vector<TokenId>& out) const;

  /// What merging alone makes of a piece of raw bytes (options().raw_bytes).
  void merge_bytes(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& out) const {
    encode_one(vocabulary, piece, out);
  }

  struct Merge {
    TokenId left, right, result;
  };
  const std::vector<Merge>& merges() const { return merges_; }  // best first
  const BpeOptions& options() const { return options_; }

 private:
  struct Symbol {
    TokenId id;
    std::int32_t previous, next;  // index, or -1
  };
  void encode_one(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& out) const;
  void first_symbols(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& ids) const;
  void merge_short(std::vector<TokenId>& ids) const;
  void merge_long(std::vector<TokenId>& ids) const;
  std::uint64_t rank_and_result(TokenId left, TokenId right) const;
  void find_safe_cuts(const Vocabulary& vocabulary);

  BpeOptions options_;
  std::vector<Merge> merges_;
  U64Map pairs_;                      // (left, right) -> (rank, result)
  std::vector<TokenId> byte_tokens_;  // [256], of raw bytes or of <0xHH>
  bool all_bytes_ = false;            // every byte has its token
  SpaceCuts cuts_;                    // off for raw bytes
};

}  // namespace junto::text
