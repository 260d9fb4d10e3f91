// Python's view of text: strings are sequences of code points, with Python's ideas of white space, case and lines.
// Everything here takes and gives valid UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace junto::jinja {

/// Bytes of the character that starts at `at`; 1 for a byte that starts none.
std::size_t code_point_size(std::string_view text, std::size_t at);
std::size_t count_code_points(std::string_view text);
/// Byte offset of code point `index`, or the size where there are fewer.
std::size_t byte_offset(std::string_view text, std::size_t index);
std::u32string decode_utf8(std::string_view text);
void append_utf8(std::string& out, char32_t code_point);
std::string encode_utf8(std::u32string_view text);
/// True for UTF-8 without overlong forms and surrogates.
bool valid_utf8(std::string_view text);

/// Offset of `part` in `text` at or after `from`, or npos; in time linear in both.
std::size_t find_bytes(std::string_view text, std::string_view part, std::size_t from);
/// The last such offset.
std::size_t rfind_bytes(std::string_view text, std::string_view part);

bool is_space(char32_t c);    // str.isspace
bool is_alpha(char32_t c);    // str.isalpha
bool is_decimal(char32_t c);  // str.isdecimal
bool is_digit(char32_t c);    // str.isdigit: also superscripts and the like
bool is_numeric(char32_t c);  // str.isnumeric
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_titlecase(char32_t c);
bool is_cased(char32_t c);
bool is_printable(char32_t c);  // str.isprintable; what repr leaves as it is

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);  // str.title
std::string capitalize(std::string_view text);
std::string swap_case(std::string_view text);
std::string case_fold(std::string_view text);

enum class Side { kLeft, kRight, kBoth };
/// str.strip and its two halves; without `chars` white space is stripped.
std::string_view strip(std::string_view text, Side side);
std::string_view strip(std::string_view text, std::string_view chars, Side side);

/// str.split(None, limit): fields between runs of white space. Negative `limit`: no limit.
std::vector<std::string_view> split_space(std::string_view text, std::int64_t limit);
std::vector<std::string_view> rsplit_space(std::string_view text, std::int64_t limit);
std::vector<std::string_view> split_on(std::string_view text, std::string_view separator, std::int64_t limit);
std::vector<std::string_view> rsplit_on(std::string_view text, std::string_view separator, std::int64_t limit);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

std::size_t count_of(std::string_view text, std::string_view part);
/// str.replace; negative `limit`: all. `max_bytes` bounds the result: beyond it Error.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to, std::int64_t limit,
                        std::size_t max_bytes);

/// repr(): quoted as Python quotes.
std::string repr_text(std::string_view text);
/// Jinja's escape: & < > " ' as HTML entities.
std::string escape_html(std::string_view text);

}  // namespace junto::jinja
