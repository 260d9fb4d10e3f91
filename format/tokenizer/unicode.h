// UTF-8 and character classes for tokenizers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace junto::text {

struct Decoded {
  char32_t c;
  std::uint32_t size;  // bytes, 1..4
};

/// The character at `p`; the bytes from `p` on are valid UTF-8.
inline Decoded decode_utf8(const char* p) {
  const auto at = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  const char32_t first = at(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (at(1) & 0x3F), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F), 3};
  return {(first & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F), 4};
}

/// Bytes of the character that starts with `first` in valid UTF-8.
inline std::uint32_t utf8_size(char first) {
  const auto b = static_cast<unsigned char>(first);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

void append_utf8(std::string& out, char32_t c);
std::u32string to_utf32(std::string_view valid_utf8);
std::string to_utf8(std::u32string_view text);

/// Length of the longest valid UTF-8 prefix of `text` (no surrogates, no overlong forms, at most U+10FFFF).
std::size_t valid_utf8_prefix(std::string_view text);

/// `text` with each maximal ill-formed part replaced by U+FFFD (Unicode 15, section 3.9).
std::string lossy_utf8(std::string_view text);

// What the steps of tokenizers ask of a character. Versions of Unicode are those of `tokenizers` (unicode_versions.h).
enum CharFlag : std::uint16_t {
  kLetter = 1 << 0,       // L
  kMark = 1 << 1,         // M of Unicode 9
  kNumber = 1 << 2,       // N
  kPunctuation = 1 << 3,  // P of Unicode 8
  kSymbol = 1 << 4,       // S
  kSpace = 1 << 5,        // White_Space
  kUpper = 1 << 6,        // Lu, Lt
  kLower = 1 << 7,        // Ll
  kControl = 1 << 8,      // Cc, Cf, Cs, Co of Unicode 8
  kNonSpacing = 1 << 9,   // Mn of Unicode 8
  kWord = 1 << 10,        // Alphabetic, M, Nd, Pc, Join_Control (Unicode technical standard 18, \w)
};

/// Flags of every character, in blocks of 256 characters that share storage where equal.
class CharTable {
 public:
  static const CharTable& get();
  std::uint16_t operator[](char32_t c) const { return blocks_[block_of_[c >> 8] << 8 | (c & 0xFF)]; }

 private:
  CharTable();
  std::vector<std::uint16_t> block_of_, blocks_;
};

inline bool has_flag(char32_t c, unsigned flags) {
  return (CharTable::get()[c] & flags) != 0;
}

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// A normal form of Unicode 9 in time O(n log n) whatever the text (long runs of combining marks included).
std::string normal_form(std::string_view valid_utf8, NormalForm form);

/// "NFC", "NFD", "NFKC" or "NFKD".
std::string_view normal_form_name(NormalForm form);
std::optional<NormalForm> normal_form_of(std::string_view name);

/// Each character's full lower case by itself (no final sigma rule).
std::string lower_case(std::string_view valid_utf8);

/// Ends of the extended grapheme clusters of `valid_utf8`.
std::vector<std::size_t> grapheme_ends(std::string_view valid_utf8);

}  // namespace junto::text
