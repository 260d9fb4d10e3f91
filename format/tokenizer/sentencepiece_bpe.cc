#include "format/tokenizer/sentencepiece_bpe.h"

#include <cstdio>
#include <queue>

#include "format/tokenizer/unicode.h"

namespace junto::text {

SentencePieceBpe::SentencePieceBpe(const Vocabulary& vocabulary, std::vector<float> scores, TokenId unk)
    : scores_(std::move(scores)), byte_tokens_(256, kNoToken), unk_(unk) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    byte_tokens_[byte] = vocabulary.find(name);
  }
  for (TokenId id = 0; id < vocabulary.size(); ++id) cuts_.add_token(vocabulary.token(id));
  cuts_.enable();
}

void SentencePieceBpe::encode(const Vocabulary& vocabulary, std::string_view piece,
                              const std::vector<std::uint8_t>* forbidden, PieceCache& cache,
                              std::vector<TokenId>& out) const {
  cuts_.for_each(piece, [&](std::string_view part) {
    const std::uint64_t hash = hash_bytes(part);
    if (const auto found = cache.find(part, hash); found.ids != nullptr) {
      out.insert(out.end(), found.ids, found.ids + found.count);
      return;
    }
    const std::size_t before = out.size();
    encode_one(vocabulary, part, forbidden, out);
    cache.insert(part, hash, out.data() + before, out.size() - before);
  });
}

void SentencePieceBpe::encode_one(const Vocabulary& vocabulary, std::string_view piece,
                                  const std::vector<std::uint8_t>* forbidden, std::vector<TokenId>& out) const {
  struct Symbol {
    std::size_t begin, end;  // bytes of `piece`; empty once joined to its left neighbour
    std::int32_t previous, next;
  };
  struct Candidate {
    float score;
    std::int32_t left;
    std::size_t bytes;  // of both; stale where they have others by now
    bool operator<(const Candidate& other) const {
      return score != other.score ? score < other.score : left > other.left;
    }
  };
  const auto token_of = [&](std::size_t begin, std::size_t end) {
    const TokenId id = vocabulary.find(piece.substr(begin, end - begin));
    return id != kNoToken && forbidden != nullptr && (*forbidden)[static_cast<std::size_t>(id)] != 0 ? kNoToken : id;
  };
  std::vector<Symbol> symbols;
  for (std::size_t i = 0; i < piece.size();) {
    const std::size_t end = i + utf8_size(piece[i]);
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({i, end, index - 1, end < piece.size() ? index + 1 : -1});
    i = end;
  }
  std::priority_queue<Candidate> heap;
  const auto offer = [&](std::int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const Symbol& right = symbols[symbols[left].next];
    const TokenId id = token_of(symbols[left].begin, right.end);
    if (id != kNoToken) heap.push({scores_[static_cast<std::size_t>(id)], left, right.end - symbols[left].begin});
  };
  for (std::int32_t i = 0; i + 1 < static_cast<std::int32_t>(symbols.size()); ++i) offer(i);
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    Symbol& left = symbols[top.left];
    if (left.begin == left.end || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    if (right.end - left.begin != top.bytes) continue;
    left.end = right.end;
    right.begin = right.end;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = top.left;
    offer(left.previous);
    offer(top.left);
  }
  for (std::int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[i].next) {
    const TokenId id = token_of(symbols[i].begin, symbols[i].end);
    if (id != kNoToken) {
      out.push_back(id);
      continue;
    }
    for (std::size_t k = symbols[i].begin; k < symbols[i].end; ++k) {
      const TokenId byte = byte_tokens_[static_cast<unsigned char>(piece[k])];
      if (byte != kNoToken)
        out.push_back(byte);
      else if (unk_ != kNoToken)
        out.push_back(unk_);
    }
  }
}

}  // namespace junto::text
