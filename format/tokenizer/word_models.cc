#include "format/tokenizer/word_models.h"

#include <algorithm>

namespace junto::text {

WordPiece::WordPiece(const Vocabulary& vocabulary, std::string continuing_prefix, std::size_t max_chars, TokenId unk)
    : max_chars_(max_chars), unk_(unk) {
  std::vector<std::pair<std::string_view, TokenId>> first, later;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    std::string_view token = vocabulary.token(id);
    if (vocabulary.find(token) != id) continue;
    first.emplace_back(token, id);
    if (!token.starts_with(continuing_prefix)) continue;
    token.remove_prefix(continuing_prefix.size());
    later.emplace_back(token, id);
  }
  first_ = ByteTrie(std::move(first));
  later_ = ByteTrie(std::move(later));
}

void WordPiece::encode(std::string_view piece, const std::vector<std::uint8_t>* forbidden,
                       std::vector<TokenId>& out) const {
  const auto chars = std::count_if(piece.begin(), piece.end(), [](char c) { return (c & 0xC0) != 0x80; });
  const std::size_t before = out.size();
  bool covered = static_cast<std::size_t>(chars) <= max_chars_;
  for (std::size_t begin = 0; covered && begin < piece.size();) {
    const ByteTrie& trie = begin == 0 ? first_ : later_;
    TokenId longest = kNoToken;
    std::size_t longest_end = begin;
    std::uint32_t node = trie.root();
    for (std::size_t i = begin; i < piece.size() && !trie.empty();) {
      node = trie.step(node, static_cast<unsigned char>(piece[i++]));
      if (node == ByteTrie::kNowhere) break;
      const TokenId id = trie.value(node);
      if (id == kNoToken || (forbidden != nullptr && (*forbidden)[static_cast<std::size_t>(id)] != 0)) continue;
      longest = id, longest_end = i;
    }
    covered = longest != kNoToken;
    if (covered) out.push_back(longest);
    begin = longest_end;
  }
  if (covered) return;
  out.resize(before);
  out.push_back(unk_);
}

}  // namespace junto::text
