#include "format/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <map>

#include "format/tokenizer/unicode_versions.h"

namespace junto::text {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

// Size of the well-formed character at text[i], or 0, with `bad` the size of the maximal ill-formed part.
std::size_t well_formed_at(std::string_view text, std::size_t i, std::size_t& bad) {
  const auto byte = [&](std::size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
  const unsigned first = byte(i);
  if (first < 0x80) return 1;
  bad = 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const std::size_t size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF.
  const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(i + 1) < low || byte(i + 1) > high) return 0;
  for (std::size_t k = 2; k < size; ++k) {
    bad = k;
    if (byte(i + k) < 0x80 || byte(i + k) > 0xBF) return 0;
  }
  return size;
}

bool is_white_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// Other_Alphabetic outside L, M and Nl: the circled and squared letters (category So).
bool is_alphabetic_symbol(char32_t c) {
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189);
}

// Flags by utf8proc's version of Unicode.
std::uint16_t current_flags_of(char32_t c) {
  unsigned flags = 0;
  if (is_white_space(c)) flags |= kSpace;
  if (is_alphabetic_symbol(c)) flags |= kWord;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return static_cast<std::uint16_t>(flags | kLetter | kUpper | kWord);
    case UTF8PROC_CATEGORY_LL:
      return static_cast<std::uint16_t>(flags | kLetter | kLower | kWord);
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return static_cast<std::uint16_t>(flags | kLetter | kWord);
    case UTF8PROC_CATEGORY_MN:
      return static_cast<std::uint16_t>(flags | kMark | kNonSpacing | kWord);
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return static_cast<std::uint16_t>(flags | kMark | kWord);
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
      return static_cast<std::uint16_t>(flags | kNumber | kWord);
    case UTF8PROC_CATEGORY_NO:
      return static_cast<std::uint16_t>(flags | kNumber);
    case UTF8PROC_CATEGORY_PC:
      return static_cast<std::uint16_t>(flags | kPunctuation | kWord);
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return static_cast<std::uint16_t>(flags | kPunctuation);
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return static_cast<std::uint16_t>(flags | kSymbol);
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
      return static_cast<std::uint16_t>(flags | kControl);
    default:
      return static_cast<std::uint16_t>(flags);
  }
}

std::uint16_t flags_of(char32_t c) {
  unsigned flags = current_flags_of(stand_in(c));
  if (c == 0x200C || c == 0x200D) flags |= kWord;  // Join_Control
  const bool new_here = stand_in(c) != c;
  if (new_here || newer_than_unicode_9(c)) flags &= ~static_cast<unsigned>(kMark);
  if (new_here || newer_than_unicode_8(c)) flags &= ~static_cast<unsigned>(kNonSpacing | kPunctuation | kControl);
  if (c == 0x1CF2 || c == 0x1CF3) flags |= kMark;          // letters by now
  if (c == 0x166D || c == 0x111C9) flags |= kPunctuation;  // a symbol, a mark by now
  if (c == 0x1734) flags |= kNonSpacing;                   // spacing by now
  return static_cast<std::uint16_t>(flags);
}

// A character that takes no part in normal forms here.
bool is_inert(utf8proc_int32_t c) {
  return newer_than_unicode_9(static_cast<char32_t>(c));
}

std::vector<utf8proc_int32_t> decompose(std::string_view text, bool compatibility) {
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> out;
  out.reserve(text.size());
  std::array<utf8proc_int32_t, 64> buffer;
  int boundary_class = 0;
  for (std::size_t i = 0; i < text.size();) {
    const Decoded at = decode_utf8(text.data() + i);
    i += at.size;
    if (newer_than_unicode_9(at.c)) {
      out.push_back(static_cast<utf8proc_int32_t>(at.c));
      continue;
    }
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(at.c), buffer.data(), buffer.size(), options,
                                           &boundary_class);
    if (n < 0 || n > static_cast<utf8proc_ssize_t>(buffer.size())) {
      out.push_back(static_cast<utf8proc_int32_t>(at.c));
    } else {
      out.insert(out.end(), buffer.begin(), buffer.begin() + n);
    }
  }
  return out;
}

// Canonical order: runs of marks sorted by combining class, stably. utf8proc's own sort is quadratic in a run.
void order_marks(std::vector<utf8proc_int32_t>& chars) {
  const auto combining = [](utf8proc_int32_t c) {
    return is_inert(c) ? utf8proc_propval_t{0} : utf8proc_get_property(c)->combining_class;
  };
  for (auto i = chars.begin(); i != chars.end();) {
    if (combining(*i) == 0) {
      ++i;
      continue;
    }
    auto end = i;
    while (end != chars.end() && combining(*end) != 0) ++end;
    std::stable_sort(i, end, [&](auto a, auto b) { return combining(a) < combining(b); });
    i = end;
  }
}

}  // namespace

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

std::u32string to_utf32(std::string_view valid_utf8) {
  std::u32string out;
  for (std::size_t i = 0; i < valid_utf8.size();) {
    const Decoded at = decode_utf8(valid_utf8.data() + i);
    out.push_back(at.c);
    i += at.size;
  }
  return out;
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t i = 0, bad = 0;
  while (i < text.size()) {
    const std::size_t size = well_formed_at(text, i, bad);
    if (size == 0) break;
    i += size;
  }
  return i;
}

std::string lossy_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0, bad = 0; i < text.size();) {
    const std::size_t size = well_formed_at(text, i, bad);
    if (size > 0) {
      out.append(text, i, size);
      i += size;
    } else {
      append_utf8(out, kReplacement);
      i += bad;
    }
  }
  return out;
}

CharTable::CharTable() {
  std::map<std::array<std::uint16_t, 256>, std::uint16_t> known;
  for (char32_t base = 0; base < 0x110000; base += 256) {
    std::array<std::uint16_t, 256> block;
    for (char32_t i = 0; i < 256; ++i) block[i] = flags_of(base + i);
    const auto [entry, fresh] = known.try_emplace(block, static_cast<std::uint16_t>(known.size()));
    if (fresh) blocks_.insert(blocks_.end(), block.begin(), block.end());
    block_of_.push_back(entry->second);
  }
}

const CharTable& CharTable::get() {
  static const CharTable table;
  return table;
}

std::string normal_form(std::string_view valid_utf8, NormalForm form) {
  if (std::all_of(valid_utf8.begin(), valid_utf8.end(), [](char c) { return (c & 0x80) == 0; })) {
    return std::string(valid_utf8);
  }
  auto chars = decompose(valid_utf8, form == NormalForm::kNfkc || form == NormalForm::kNfkd);
  order_marks(chars);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) {
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    std::vector<utf8proc_int32_t> composed;
    composed.reserve(chars.size());
    for (auto begin = chars.begin(); begin != chars.end();) {
      const auto end = std::find_if(begin, chars.end(), is_inert);
      const auto n = utf8proc_normalize_utf32(&*begin, end - begin, options);
      composed.insert(composed.end(), begin, n >= 0 ? begin + n : end);
      begin = std::find_if_not(end, chars.end(), is_inert);
      composed.insert(composed.end(), end, begin);
    }
    chars = std::move(composed);
  }
  std::string out;
  out.reserve(valid_utf8.size());
  for (const auto c : chars) append_utf8(out, static_cast<char32_t>(c));
  return out;
}

namespace {
constexpr std::array<std::pair<std::string_view, NormalForm>, 4> kForms{
    {{"NFC", NormalForm::kNfc}, {"NFD", NormalForm::kNfd}, {"NFKC", NormalForm::kNfkc}, {"NFKD", NormalForm::kNfkd}}};
}

std::string_view normal_form_name(NormalForm form) {
  return std::find_if(kForms.begin(), kForms.end(), [&](const auto& one) { return one.second == form; })->first;
}

std::optional<NormalForm> normal_form_of(std::string_view name) {
  const auto found = std::find_if(kForms.begin(), kForms.end(), [&](const auto& one) { return one.first == name; });
  return found == kForms.end() ? std::nullopt : std::optional(found->second);
}

std::string lower_case(std::string_view valid_utf8) {
  std::string out;
  out.reserve(valid_utf8.size());
  for (std::size_t i = 0; i < valid_utf8.size();) {
    const Decoded at = decode_utf8(valid_utf8.data() + i);
    i += at.size;
    if (const char32_t newer = newer_lower_case(at.c); newer != 0) {
      append_utf8(out, newer);
    } else if (at.c == 0x130) {
      out += "i\u0307";  // the one character whose lower case is two
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(at.c))));
    }
  }
  return out;
}

std::vector<std::size_t> grapheme_ends(std::string_view valid_utf8) {
  std::vector<std::size_t> ends;
  utf8proc_int32_t state = 0;
  char32_t previous = 0;
  for (std::size_t i = 0; i < valid_utf8.size();) {
    const Decoded at = decode_utf8(valid_utf8.data() + i);
    if (i > 0 && utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous),
                                                  static_cast<utf8proc_int32_t>(at.c), &state)) {
      ends.push_back(i);
    }
    previous = at.c;
    i += at.size;
  }
  if (!valid_utf8.empty()) ends.push_back(valid_utf8.size());
  return ends;
}

}  // namespace junto::text
