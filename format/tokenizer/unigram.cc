#include "format/tokenizer/unigram.h"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "base/error.h"
#include "format/tokenizer/regex.h"
#include "format/tokenizer/unicode.h"

namespace junto::text {
namespace {
constexpr double kUnkPenalty = 10.0;  // an unknown character's score lies this far below the worst token's
}

Unigram::Unigram(const Vocabulary& vocabulary, std::vector<double> scores, TokenId unk, bool byte_fallback)
    : scores_(std::move(scores)), byte_tokens_(256, kNoToken), unk_(unk), byte_fallback_(byte_fallback) {
  std::vector<std::pair<std::string_view, TokenId>> strings;
  double lowest = std::numeric_limits<double>::infinity();
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    // Of a string given twice the last id holds; the others' scores count for the lowest only.
    if (vocabulary.find(vocabulary.token(id)) == id) strings.emplace_back(vocabulary.token(id), id);
    lowest = std::min(lowest, scores_[static_cast<std::size_t>(id)]);
  }
  trie_ = ByteTrie(std::move(strings));
  unk_score_ = lowest - kUnkPenalty;
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    byte_tokens_[byte] = vocabulary.find(name);
  }
}

void Unigram::encode(const Vocabulary& vocabulary, std::string_view piece, const std::vector<std::uint8_t>* forbidden,
                     std::string_view where, PieceCache& cache, std::vector<TokenId>& out) const {
  const std::uint64_t hash = hash_bytes(piece);
  if (const auto found = cache.find(piece, hash); found.ids != nullptr) {
    out.insert(out.end(), found.ids, found.ids + found.count);
    return;
  }
  const std::size_t before = out.size();
  encode_one(vocabulary, piece, forbidden, where, out);
  cache.insert(piece, hash, out.data() + before, out.size() - before);
}

void Unigram::encode_one(const Vocabulary& vocabulary, std::string_view piece,
                         const std::vector<std::uint8_t>* forbidden, std::string_view where,
                         std::vector<TokenId>& out) const {
  // best[e]: the best path that ends before byte e. Ties: the path found first, which starts furthest left.
  struct Node {
    double score = 0;
    std::size_t begin = 0;
    TokenId id = kNoToken;
    bool reached = false;
  };
  std::vector<Node> best(piece.size() + 1);
  best[0].reached = true;
  const auto offer = [&](std::size_t begin, std::size_t end, TokenId id, double token_score) {
    const double score = token_score + best[begin].score;
    if (!best[end].reached || score > best[end].score) best[end] = {score, begin, id, true};
  };
  for (std::size_t begin = 0; begin < piece.size();) {
    const std::size_t one = begin + utf8_size(piece[begin]);
    bool single = false;  // some token is just this character
    std::uint32_t node = trie_.root();
    for (std::size_t end = begin; end < piece.size() && !trie_.empty();) {
      node = trie_.step(node, static_cast<unsigned char>(piece[end++]));
      if (node == ByteTrie::kNowhere) break;
      const TokenId id = trie_.value(node);
      if (id == kNoToken || (forbidden != nullptr && (*forbidden)[static_cast<std::size_t>(id)] != 0)) continue;
      offer(begin, end, id, scores_[static_cast<std::size_t>(id)]);
      single = single || end == one;
    }
    if (!single) {
      // Without an unknown token it is an error only where it would be the best so far (as in tokenizers).
      const bool best_so_far = !best[one].reached || unk_score_ + best[begin].score > best[one].score;
      if (unk_ == kNoToken && best_so_far) {
        fail(where, "no token for " + printable(piece.substr(begin, one - begin)) + ", and unk_id is missing");
      }
      if (best_so_far) offer(begin, one, unk_, unk_score_);
    }
    begin = one;
  }
  // Back along the best path; neighbouring unknown characters are one.
  std::vector<std::pair<Span, TokenId>> path;
  for (std::size_t end = piece.size(); end > 0; end = best[end].begin) {
    const Span span{best[end].begin, end};
    if (best[end].id == unk_ && !path.empty() && path.back().second == unk_)
      path.back().first.begin = span.begin;
    else
      path.emplace_back(span, best[end].id);
  }
  for (auto part = path.rbegin(); part != path.rend(); ++part) {
    const auto& [span, id] = *part;
    if (id == unk_)
      unknown(vocabulary, piece.substr(span.begin, span.end - span.begin), forbidden, out);
    else
      out.push_back(id);
  }
}

void Unigram::unknown(const Vocabulary& vocabulary, std::string_view text, const std::vector<std::uint8_t>* forbidden,
                      std::vector<TokenId>& out) const {
  // Unknown characters side by side may spell a token that lost against them one by one.
  const TokenId whole = vocabulary.find(text);
  if (whole != kNoToken && (forbidden == nullptr || (*forbidden)[static_cast<std::size_t>(whole)] == 0)) {
    out.push_back(whole);
    return;
  }
  const auto byte_id = [&](char b) { return byte_tokens_[static_cast<unsigned char>(b)]; };
  if (byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char b) { return byte_id(b) != kNoToken; })) {
    for (const char b : text) out.push_back(byte_id(b));
  } else {
    out.push_back(unk_);
  }
}

}  // namespace junto::text
