// What earlier pieces of the same call gave: text repeats its words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/tokenizer/vocabulary.h"

namespace junto::text {

/// Piece -> tokens, bounded. Lives as long as one call, so that tokenizers stay immutable and free of locks.
class PieceCache {
 public:
  struct Found {
    const TokenId* ids = nullptr;  // nullptr: not here; valid until the next insert
    std::size_t count = 0;
  };
  /// `hash` is hash_bytes(piece).
  Found find(std::string_view piece, std::uint64_t hash) const;
  /// Long pieces, and any once the cache is full, are not kept.
  void insert(std::string_view piece, std::uint64_t hash, const TokenId* ids, std::size_t count);

 private:
  static constexpr std::size_t kMaxEntries = 1 << 16, kMaxPieceBytes = 64;
  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t offset = 0, begin = 0;  // in arena_, in ids_
    std::uint16_t size = 0, count = 0;    // size 0: empty
  };
  void grow();

  std::vector<Slot> slots_;
  std::string arena_;
  std::vector<TokenId> ids_;
  std::size_t size_ = 0;
};

}  // namespace junto::text
