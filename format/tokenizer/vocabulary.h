// Token strings and their ids, and hashing that a hostile file cannot aim at.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace junto::text {

using TokenId = std::int32_t;
inline constexpr TokenId kNoToken = -1;

/// Hash of `bytes`, seeded once per process.
std::uint64_t hash_bytes(std::string_view bytes);
std::uint64_t hash_u64(std::uint64_t value);

/// Open-addressing map from a 64-bit key to a 64-bit value; built once, then read.
class U64Map {
 public:
  static constexpr std::uint64_t kAbsent = ~std::uint64_t{0};

  void reserve(std::size_t entries);
  /// False where the key is there already (its value stays). Keys are not kAbsent.
  bool insert(std::uint64_t key, std::uint64_t value);
  std::uint64_t find(std::uint64_t key) const;
  std::size_t size() const { return size_; }

 private:
  struct Slot {
    std::uint64_t key = kAbsent, value = kAbsent;
  };
  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

/// Token <-> id. Ids may have gaps.
class Vocabulary {
 public:
  /// Adds a token; a token that is there already gets the new id, an id that is there already the new token.
  void add(TokenId id, std::string_view token);
  TokenId find(std::string_view token) const;
  /// Empty for ids without a token.
  std::string_view token(TokenId id) const;
  bool contains(TokenId id) const {
    return id >= 0 && static_cast<std::size_t>(id) < entries_.size() && entries_[id].size != kHole;
  }
  std::int64_t size() const { return static_cast<std::int64_t>(entries_.size()); }  // highest id + 1
  std::int64_t count() const { return count_; }                                     // different tokens

 private:
  static constexpr std::uint32_t kHole = ~std::uint32_t{0};
  struct Entry {
    std::uint64_t offset = 0;
    std::uint32_t size = kHole;
  };
  struct Slot {
    std::uint64_t offset = 0;
    std::uint32_t size = 0;
    TokenId id = kNoToken;  // kNoToken: empty slot
  };
  std::size_t slot_of(std::string_view token) const;
  void grow();

  std::string arena_;
  std::vector<Entry> entries_;  // by id
  std::vector<Slot> slots_;     // by hash
  std::int64_t count_ = 0;
};

/// A trie over byte strings with the children of a node side by side.
class ByteTrie {
 public:
  static constexpr std::uint32_t kNowhere = ~std::uint32_t{0};

  ByteTrie() = default;
  /// From (string, id); of equal strings the last wins. Empty strings are left out.
  explicit ByteTrie(std::vector<std::pair<std::string_view, TokenId>> strings);

  bool empty() const { return nodes_.empty(); }
  std::uint32_t root() const { return 0; }
  std::uint32_t step(std::uint32_t node, unsigned char byte) const;
  TokenId value(std::uint32_t node) const { return nodes_[node].value; }  // kNoToken: no string ends here
  bool starts_with(unsigned char byte) const { return starts_[byte] != kNowhere; }

 private:
  struct Node {
    std::uint32_t first_child = 0;
    std::uint16_t children = 0;
    unsigned char byte = 0;
    TokenId value = kNoToken;
  };
  std::vector<Node> nodes_;
  std::vector<std::uint32_t> starts_ = std::vector<std::uint32_t>(256, kNowhere);
};

/// GPT-2's spelling of bytes as printable characters ("Ġ" is a space).
struct ByteLevel {
  static const ByteLevel& get();
  char32_t char_of[256];
  std::string utf8_of[256];
  /// The byte that `c` spells, or nothing.
  std::optional<unsigned char> byte_of(char32_t c) const;
  std::string encode(std::string_view bytes) const;
  /// Nothing where a character spells no byte.
  std::optional<std::string> decode(std::string_view token) const;

 private:
  ByteLevel();
  std::int16_t byte_of_[0x144];
};

}  // namespace junto::text
