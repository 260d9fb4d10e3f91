#include "format/tokenizer/piece_cache.h"

#include <algorithm>

namespace junto::text {

PieceCache::Found PieceCache::find(std::string_view piece, std::uint64_t hash) const {
  if (slots_.empty()) return {};
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask; slots_[i].size != 0; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.hash == hash && std::string_view(arena_).substr(slot.offset, slot.size) == piece) {
      return {ids_.data() + slot.begin, slot.count};
    }
  }
  return {};
}

void PieceCache::insert(std::string_view piece, std::uint64_t hash, const TokenId* ids, std::size_t count) {
  if (piece.empty() || piece.size() > kMaxPieceBytes || count > 0xFFFF || size_ >= kMaxEntries) return;
  if (slots_.size() < (size_ + 1) * 2) grow();
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = hash & mask;
  while (slots_[i].size != 0) i = (i + 1) & mask;
  slots_[i] = {hash, static_cast<std::uint32_t>(arena_.size()), static_cast<std::uint32_t>(ids_.size()),
               static_cast<std::uint16_t>(piece.size()), static_cast<std::uint16_t>(count)};
  arena_.append(piece);
  ids_.insert(ids_.end(), ids, ids + count);
  ++size_;
}

void PieceCache::grow() {
  std::vector<Slot> old(std::max<std::size_t>(slots_.size() * 2, 256));
  old.swap(slots_);
  const std::size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.size == 0) continue;
    std::size_t i = slot.hash & mask;
    while (slots_[i].size != 0) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

}  // namespace junto::text
