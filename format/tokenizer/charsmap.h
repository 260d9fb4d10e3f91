// SentencePiece's precompiled_charsmap: replacements of characters and short clusters, in a double-array trie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace junto::text {

/// Layout of the blob, little endian: u32 size of the trie in bytes; the trie's u32 units; strings, each ended by a
/// zero byte, that the trie's values are offsets into.
class Charsmap {
 public:
  Charsmap(std::string_view blob, std::string_view where);
  /// The text after replacement, cluster by cluster as `tokenizers` does it. Stops growing at `limit_bytes`.
  std::string apply(std::string_view valid_utf8, std::size_t limit_bytes) const;

 private:
  /// The replacement of the shortest prefix of `chunk` that has one (as in tokenizers, for the whole chunk).
  std::optional<std::string_view> replacement(std::string_view chunk) const;
  std::vector<std::uint32_t> trie_;
  std::string strings_;
};

/// Throws Error "`where`: ..." for what is not base64.
std::string decode_base64(std::string_view text, std::string_view where);

}  // namespace junto::text
