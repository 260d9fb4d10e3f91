#include "format/tokenizer/bpe.h"

#include <algorithm>
#include <queue>

#include "base/error.h"
#include "format/tokenizer/unicode.h"

namespace junto::text {
namespace {

constexpr std::size_t kShortPiece = 40;  // symbols up to which scanning for the best pair beats a heap
constexpr std::uint64_t kNoMerge = U64Map::kAbsent;

std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

// rank << 32 | result, so that the smaller value is the better merge.
TokenId result_of(std::uint64_t merge) {
  return static_cast<TokenId>(merge & 0xFFFFFFFF);
}

std::string byte_token(unsigned byte) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  return std::string("<0x") + digits[byte >> 4] + digits[byte & 15] + ">";
}

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
         BpeOptions options, std::string_view where)
    : options_(std::move(options)) {
  const auto id_of = [&](std::string_view token, std::size_t rank) {
    const TokenId id = vocabulary.find(token);
    if (id == kNoToken) {
      fail(where,
           "merge " + std::to_string(rank) + " is of \"" + printable(token) + "\", expected a token of the vocabulary");
    }
    return id;
  };
  merges_.reserve(merges.size());
  pairs_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const std::string_view tail =
        std::string_view(right).substr(std::min(options_.continuing_prefix.size(), right.size()));
    const Merge merge{id_of(left, rank), id_of(right, rank), id_of(left + std::string(tail), rank)};
    merges_.push_back(merge);
  }
  // Of a pair given twice the last rank holds (as in tokenizers, which fills a map in order).
  for (std::size_t rank = merges_.size(); rank-- > 0;) {
    const Merge& merge = merges_[rank];
    pairs_.insert(pair_key(merge.left, merge.right), rank << 32 | static_cast<std::uint32_t>(merge.result));
  }
  byte_tokens_.assign(256, kNoToken);
  all_bytes_ = true;
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_tokens_[byte] = vocabulary.find(options_.raw_bytes ? ByteLevel::get().utf8_of[byte] : byte_token(byte));
    if (byte_tokens_[byte] == kNoToken) all_bytes_ = false;
  }
  if (!options_.raw_bytes) find_safe_cuts(vocabulary);
}

void Bpe::find_safe_cuts(const Vocabulary& vocabulary) {
  // Where "▁" has no token, or a piece's ends are marked, a cut would change what an unknown or last character gives;
  // where unknown characters are left out, their neighbours merge.
  if (vocabulary.find("\u2581") == kNoToken || !options_.continuing_prefix.empty() || !options_.end_suffix.empty() ||
      (options_.unk == kNoToken && !(options_.byte_fallback && all_bytes_)))
    return;
  for (const Merge& merge : merges_) cuts_.add_token(vocabulary.token(merge.result));
  cuts_.enable();
}

void Bpe::encode(const Vocabulary& vocabulary, std::string_view piece, PieceCache& cache,
                 std::vector<TokenId>& out) const {
  if (piece.empty()) return;
  const auto cached = [&](std::string_view part, bool whole) {
    const std::uint64_t hash = hash_bytes(part);
    if (const auto found = cache.find(part, hash); found.ids != nullptr) {
      out.insert(out.end(), found.ids, found.ids + found.count);
      return;
    }
    const std::size_t before = out.size();
    if (whole) {
      const TokenId id = vocabulary.find(options_.raw_bytes ? ByteLevel::get().encode(part) : std::string(part));
      if (id != kNoToken) out.push_back(id);
    }
    if (out.size() == before) encode_one(vocabulary, part, out);
    cache.insert(part, hash, out.data() + before, out.size() - before);
  };
  // A whole piece that is a token may not be cut first.
  if (options_.ignore_merges) return cached(piece, true);
  cuts_.for_each(piece, [&](std::string_view part) { cached(part, false); });
}

void Bpe::encode_one(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& out) const {
  std::vector<TokenId> ids;
  ids.reserve(piece.size());
  if (options_.raw_bytes && all_bytes_) {
    for (const char b : piece) ids.push_back(byte_tokens_[static_cast<unsigned char>(b)]);
  } else {
    first_symbols(vocabulary, options_.raw_bytes ? ByteLevel::get().encode(piece) : std::string(piece), ids);
  }
  if (ids.size() <= kShortPiece)
    merge_short(ids);
  else
    merge_long(ids);
  out.insert(out.end(), ids.begin(), ids.end());
}

// One token per character. A character without one: its bytes' tokens, or `unk`, or (neither) nothing.
void Bpe::first_symbols(const Vocabulary& vocabulary, std::string_view piece, std::vector<TokenId>& ids) const {
  bool unk_pending = false;
  const auto flush = [&] {
    if (unk_pending) ids.push_back(options_.unk);
    unk_pending = false;
  };
  std::string spelled;
  for (std::size_t i = 0; i < piece.size();) {
    const std::size_t size = utf8_size(piece[i]);
    const bool first = i == 0, last = i + size == piece.size();
    std::string_view symbol = piece.substr(i, size);
    i += size;
    if ((!first && !options_.continuing_prefix.empty()) || (last && !options_.end_suffix.empty())) {
      spelled = (first ? "" : options_.continuing_prefix) + std::string(symbol) + (last ? options_.end_suffix : "");
      symbol = spelled;
    }
    if (const TokenId id = vocabulary.find(symbol); id != kNoToken) {
      flush();
      ids.push_back(id);
      continue;
    }
    const auto byte_id = [&](char b) { return byte_tokens_[static_cast<unsigned char>(b)]; };
    if (options_.byte_fallback && !options_.raw_bytes &&
        std::all_of(symbol.begin(), symbol.end(), [&](char b) { return byte_id(b) != kNoToken; })) {
      // An unknown character before stays pending here, as in tokenizers.
      for (const char b : symbol) ids.push_back(byte_id(b));
    } else if (options_.unk != kNoToken) {
      if (!options_.fuse_unk) flush();
      unk_pending = true;
    }
  }
  flush();
}

std::uint64_t Bpe::rank_and_result(TokenId left, TokenId right) const {
  return pairs_.find(pair_key(left, right));
}

// The best-ranked pair, leftmost first, until none is left.
void Bpe::merge_short(std::vector<TokenId>& ids) const {
  if (ids.size() < 2) return;
  std::uint64_t merge_at[kShortPiece];
  std::size_t n = ids.size();
  for (std::size_t i = 0; i + 1 < n; ++i) merge_at[i] = rank_and_result(ids[i], ids[i + 1]);
  while (n > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < n; ++i) {
      if (merge_at[i] < merge_at[best]) best = i;
    }
    if (merge_at[best] == kNoMerge) break;
    ids[best] = result_of(merge_at[best]);
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    --n;
    for (std::size_t i = best + 1; i + 1 < n; ++i) merge_at[i] = merge_at[i + 1];
    if (best > 0) merge_at[best - 1] = rank_and_result(ids[best - 1], ids[best]);
    if (best + 1 < n) merge_at[best] = rank_and_result(ids[best], ids[best + 1]);
  }
}

// The same in O(n log n) with a heap of candidates; stale ones are recognised when they come up.
void Bpe::merge_long(std::vector<TokenId>& ids) const {
  struct Candidate {
    std::uint64_t merge;
    std::int32_t at;
    bool operator<(const Candidate& other) const {  // std::priority_queue has the greatest on top
      return merge != other.merge ? merge > other.merge : at > other.at;
    }
  };
  const auto n = static_cast<std::int32_t>(ids.size());
  std::vector<Symbol> symbols(ids.size());
  std::vector<Candidate> first;
  for (std::int32_t i = 0; i < n; ++i) {
    symbols[i] = {ids[i], i - 1, i + 1 < n ? i + 1 : -1};
    if (i + 1 >= n) continue;
    if (const auto merge = rank_and_result(ids[i], ids[i + 1]); merge != kNoMerge) first.push_back({merge, i});
  }
  std::priority_queue<Candidate> heap(std::less<Candidate>(), std::move(first));
  const auto offer = [&](std::int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const auto merge = rank_and_result(symbols[left].id, symbols[symbols[left].next].id);
    if (merge != kNoMerge) heap.push({merge, left});
  };
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    Symbol& left = symbols[top.at];
    if (left.id == kNoToken || left.next < 0) continue;
    const auto now = rank_and_result(left.id, symbols[left.next].id);
    if (now == kNoMerge || result_of(now) != result_of(top.merge)) continue;
    Symbol& right = symbols[left.next];
    left.id = result_of(now);
    right.id = kNoToken;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = top.at;
    offer(left.previous);
    offer(top.at);
  }
  ids.clear();
  for (std::int32_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace junto::text
