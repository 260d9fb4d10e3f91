// Versions of Unicode. What published tokenizers are run with mixes several of them: `tokenizers` 0.23 takes normal
// forms and accents from Unicode 9, BERT's classes from Unicode 8, patterns from Unicode 16. The libraries here have
// Unicode 14 (PCRE2) and 15 (utf8proc).
#pragma once

#include <string>
#include <string_view>

namespace junto::text {

/// Marks and characters with a decomposition: not in Unicode 9. Meaningless for other characters.
bool newer_than_unicode_9(char32_t c);

/// Non-spacing marks, punctuation, format characters: not in Unicode 8. Meaningless for other characters.
bool newer_than_unicode_8(char32_t c);

/// A character of Unicode 14 that patterns cannot tell from `c` (same general category, same size in UTF-8, Han where
/// `c` is Han) where `c` came with Unicode 15 or 16; `c` itself otherwise.
char32_t stand_in(char32_t c);

/// Whether `valid_utf8` has a character with a stand-in; then `replaced` is the text with stand-ins, of the same size.
bool with_stand_ins(std::string_view valid_utf8, std::string& replaced);

/// Lower case of capitals that came with Unicode 16 and 17; 0 for other characters.
char32_t newer_lower_case(char32_t c);

}  // namespace junto::text
