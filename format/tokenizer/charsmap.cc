#include "format/tokenizer/charsmap.h"

#include "base/error.h"
#include "format/tokenizer/unicode.h"

namespace junto::text {
namespace {

// Longer clusters are replaced character by character (SentencePiece's own limit).
constexpr std::size_t kMaxClusterBytes = 5;

std::uint32_t u32_at(std::string_view bytes, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i + k])); };
  return byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
}

// A unit of Darts-clone's double array: label in the low byte, a leaf bit, an offset with an optional scale of 256.
std::uint32_t unit_offset(std::uint32_t unit) {
  return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}
std::uint32_t unit_label(std::uint32_t unit) {
  return unit & (1u << 31 | 0xFF);
}
bool unit_has_leaf(std::uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
std::uint32_t unit_value(std::uint32_t unit) {
  return unit & ((1u << 31) - 1);
}

}  // namespace

Charsmap::Charsmap(std::string_view blob, std::string_view where) {
  if (blob.size() < 4)
    fail(where, "precompiled_charsmap has " + std::to_string(blob.size()) + " bytes, expected at least 4");
  const std::size_t trie_bytes = u32_at(blob, 0);
  if (trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes > blob.size() - 4) {
    fail(where, "precompiled_charsmap says that its trie has " + std::to_string(trie_bytes) + " bytes, expected 4.." +
                    std::to_string(blob.size() - 4));
  }
  for (std::size_t i = 0; i < trie_bytes; i += 4) trie_.push_back(u32_at(blob, 4 + i));
  strings_ = blob.substr(4 + trie_bytes);
}

std::optional<std::string_view> Charsmap::replacement(std::string_view chunk) const {
  std::size_t node = unit_offset(trie_[0]);
  for (const char c : chunk) {
    const auto byte = static_cast<unsigned char>(c);
    node ^= byte;
    if (byte == 0 || node >= trie_.size() || unit_label(trie_[node]) != byte) return std::nullopt;
    const std::uint32_t unit = trie_[node];
    node ^= unit_offset(unit);
    if (!unit_has_leaf(unit)) continue;
    if (node >= trie_.size()) return std::nullopt;
    const std::size_t at = unit_value(trie_[node]);
    if (at >= strings_.size()) return std::nullopt;
    const std::string_view rest = std::string_view(strings_).substr(at);
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::string Charsmap::apply(std::string_view valid_utf8, std::size_t limit_bytes) const {
  std::string out;
  out.reserve(valid_utf8.size());
  std::size_t begin = 0;
  for (const std::size_t end : grapheme_ends(valid_utf8)) {
    if (out.size() > limit_bytes) break;
    const std::string_view cluster = valid_utf8.substr(begin, end - begin);
    begin = end;
    if (cluster.size() <= kMaxClusterBytes) {
      if (const auto text = replacement(cluster)) {
        out += *text;
        continue;
      }
    }
    for (std::size_t i = 0; i < cluster.size();) {
      const std::string_view c = cluster.substr(i, utf8_size(cluster[i]));
      out += replacement(c).value_or(c);
      i += c.size();
    }
  }
  // The strings are the file's: cut ones would break the promise of valid UTF-8.
  return valid_utf8_prefix(out) == out.size() ? out : lossy_utf8(out);
}

std::string decode_base64(std::string_view text, std::string_view where) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (const char c : text) {
    const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (value < 0) fail(where, "precompiled_charsmap is not base64");
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count & 0xFF));
    }
  }
  return out;
}

}  // namespace junto::text
