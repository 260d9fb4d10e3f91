#include "format/tokenizer/added_tokens.h"

#include <algorithm>

#include "format/tokenizer/unicode.h"

namespace junto::text {
namespace {

// Start of the last character before `end` (end > 0).
std::size_t character_before(std::string_view text, std::size_t end) {
  std::size_t i = end - 1;
  while (i > 0 && (text[i] & 0xC0) == 0x80) --i;
  return i;
}

bool word_before(std::string_view text, std::size_t end) {
  return end > 0 && has_flag(decode_utf8(text.data() + character_before(text, end)).c, kWord);
}

bool word_at(std::string_view text, std::size_t begin) {
  return begin < text.size() && has_flag(decode_utf8(text.data() + begin).c, kWord);
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens, const std::vector<std::string>& patterns)
    : tokens_(std::move(tokens)) {
  std::vector<std::pair<std::string_view, TokenId>> strings;
  for (std::size_t i = tokens_.size(); i-- > 0;) strings.emplace_back(patterns[i], static_cast<TokenId>(i));
  trie_ = ByteTrie(std::move(strings));
}

std::vector<AddedTokenMatcher::Part> AddedTokenMatcher::split(std::string_view text, bool plain) const {
  std::vector<Part> parts;
  std::size_t from = 0;  // end of the last part
  const auto put = [&](std::size_t begin, std::size_t end, TokenId id) {
    if (begin < end) parts.push_back({text.substr(begin, end - begin), id, begin == 0});
  };
  for (std::size_t i = 0; i < text.size() && !tokens_.empty();) {
    if (!trie_.starts_with(static_cast<unsigned char>(text[i]))) {
      ++i;
      continue;
    }
    TokenId longest = kNoToken;
    std::size_t longest_end = i;
    std::uint32_t node = trie_.root();
    for (std::size_t k = i; k < text.size();) {
      node = trie_.step(node, static_cast<unsigned char>(text[k++]));
      if (node == ByteTrie::kNowhere) break;
      if (trie_.value(node) != kNoToken) longest = trie_.value(node), longest_end = k;
    }
    if (longest == kNoToken) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(longest)];
    std::size_t begin = i, end = longest_end;
    i = longest_end;
    if (plain && token.special) continue;
    if (token.single_word && (word_before(text, begin) || word_at(text, end))) continue;
    while (token.lstrip && begin > from) {
      const std::size_t before = character_before(text, begin);
      if (!has_flag(decode_utf8(text.data() + before).c, kSpace)) break;
      begin = before;
    }
    while (token.rstrip && end < text.size()) {
      const Decoded next = decode_utf8(text.data() + end);
      if (!has_flag(next.c, kSpace)) break;
      end += next.size;
    }
    // White space that the token before took: with lstrip it is not text any more, and a token of it alone is none;
    // without, the token stands (as in tokenizers).
    if (token.lstrip) begin = std::max(begin, from);
    if (from < begin) put(from, begin, kNoToken);
    if (begin < end) put(begin, end, token.id);
    from = end;
  }
  put(from, text.size(), kNoToken);
  return parts;
}

}  // namespace junto::text
