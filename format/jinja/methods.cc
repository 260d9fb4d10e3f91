// Methods of strings.
#include <algorithm>

#include "format/jinja/builtins.h"
#include "format/jinja/python_text.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {
namespace {

// In parameter lists "" stands for a parameter that can be given by position only.

const Text& text_of(const Value& self) {
  return *as_text(self);
}

Value like(Renderer& renderer, const Value& self, std::string_view text) {
  return renderer.heap().text(std::string(text), text_of(self).markup);
}

// An argument that is put into the text: markup escapes what is not markup.
std::string inserted(const Value& self, const Value& argument) {
  const Text* text = as_text(argument);
  if (!text) {
    require_defined(argument);
    raise("expected str, got " + type_name(argument));
  }
  return text_of(self).markup && !text->markup ? escape_html(text->utf8) : text->utf8;
}

template <std::string (*Change)(std::string_view)>
Value changed(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("method", arguments, {});
  return like(renderer, self, Change(text_of(self).utf8));
}

template <Side kSide>
Value stripped(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("strip", arguments, {""});
  const std::string_view text = text_of(self).utf8;
  return like(renderer, self, bound.given(0) ? strip(text, bound.text(0, ""), kSide) : strip(text, kSide));
}

Value list_of(Renderer& renderer, const Value& self, const std::vector<std::string_view>& fields) {
  std::vector<Value> items;
  items.reserve(fields.size());
  for (const std::string_view field : fields) items.push_back(like(renderer, self, field));
  return renderer.heap().list(std::move(items));
}

template <bool kFromRight>
Value split(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("split", arguments, {"sep", "maxsplit"});
  const std::string_view text = text_of(self).utf8;
  const std::int64_t limit = bound.integer(1, -1);
  renderer.heap().step_bytes(text.size());
  renderer.heap().check_room(text.size() * sizeof(std::string_view));
  if (!bound.given(0))
    return list_of(renderer, self, kFromRight ? rsplit_space(text, limit) : split_space(text, limit));
  const std::string_view separator = bound.text(0, "");
  return list_of(renderer, self, kFromRight ? rsplit_on(text, separator, limit) : split_on(text, separator, limit));
}

Value splitlines(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("splitlines", arguments, {"keepends"});
  renderer.heap().check_room(text_of(self).utf8.size() * sizeof(std::string_view));
  return list_of(renderer, self, split_lines(text_of(self).utf8, bound.flag(0, false)));
}

template <bool kFromRight>
Value partition(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("partition", arguments, {""}, 1);
  const std::string_view text = text_of(self).utf8, separator = bound.text(0, "");
  if (separator.empty()) raise("empty separator");
  const std::size_t at = kFromRight ? rfind_bytes(text, separator) : find_bytes(text, separator, 0);
  std::string_view parts[3] = {kFromRight ? "" : text, "", kFromRight ? text : ""};
  if (at != std::string_view::npos) {
    parts[0] = text.substr(0, at);
    parts[1] = separator;
    parts[2] = text.substr(at + separator.size());
  }
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(like(renderer, self, part));
  return renderer.heap().tuple(std::move(items));
}

/// The part of a text that the optional arguments start and end (in code points) leave, and where it begins.
struct Window {
  Window(const Bound& bound, std::string_view whole, std::size_t first_parameter) {
    const auto size = static_cast<std::int64_t>(count_code_points(whole));
    const auto clamp = [size](std::int64_t index) {
      return std::min(index < 0 ? std::max<std::int64_t>(index + size, 0) : index, size);
    };
    const std::int64_t from = bound.given(first_parameter) ? bound.integer(first_parameter, 0) : 0;
    begin = clamp(from);
    const std::int64_t end = bound.given(first_parameter + 1) ? clamp(bound.integer(first_parameter + 1, size)) : size;
    valid = begin <= end && from <= size;
    if (!valid) return;
    text = whole.substr(byte_offset(whole, static_cast<std::size_t>(begin)));
    text = text.substr(0, byte_offset(text, static_cast<std::size_t>(end - begin)));
  }
  std::string_view text;
  std::int64_t begin = 0;
  bool valid = true;  // false: empty even to an empty search
};

template <bool kSuffix>
Value starts_or_ends(Renderer&, const Value& self, const Arguments& arguments) {
  const Bound bound(kSuffix ? "endswith" : "startswith", arguments, {"", "", ""}, 1);
  const Window window(bound, text_of(self).utf8, 1);
  const auto matches = [&](const Value& value) {
    const Text* part = as_text(value);
    if (!part) {
      require_defined(value);
      raise(std::string(kSuffix ? "endswith" : "startswith") + " first arg must be str or a tuple of str, not " +
            type_name(value));
    }
    return window.valid && (kSuffix ? window.text.ends_with(part->utf8) : window.text.starts_with(part->utf8));
  };
  if (!is_kind(bound.at(0), Kind::kTuple)) return matches(bound.at(0));
  const Sequence* parts = as_sequence(bound.at(0));
  return std::any_of(parts->items.begin(), parts->items.end(), matches);
}

template <bool kFromRight, bool kMustExist>
Value find(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("find", arguments, {"", "", ""}, 1);
  const std::string_view part = bound.text(0, "");
  const Window window(bound, text_of(self).utf8, 1);
  renderer.heap().step_bytes(window.text.size());
  const std::size_t at = !window.valid ? std::string_view::npos
                         : kFromRight  ? rfind_bytes(window.text, part)
                                       : find_bytes(window.text, part, 0);
  if (at == std::string_view::npos && kMustExist) raise("substring not found");
  if (at == std::string_view::npos) return std::int64_t{-1};
  return window.begin + static_cast<std::int64_t>(count_code_points(window.text.substr(0, at)));
}

Value count(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("count", arguments, {"", "", ""}, 1);
  const Window window(bound, text_of(self).utf8, 1);
  renderer.heap().step_bytes(window.text.size());
  return window.valid ? static_cast<std::int64_t>(count_of(window.text, bound.text(0, ""))) : std::int64_t{0};
}

Value replace(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("replace", arguments, {"", "", ""}, 2);
  const Text& text = text_of(self);
  renderer.heap().step_bytes(text.utf8.size());
  return like(renderer, self,
              replace_all(text.utf8, bound.text(0, ""), inserted(self, bound.at(1)), bound.integer(2, -1),
                          renderer.heap().limits().output_bytes));
}

Value join(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("join", arguments, {""}, 1);
  Heap& heap = renderer.heap();
  const std::string& separator = text_of(self).utf8;
  std::string out;
  const Cursor next = iterate(heap, bound.at(0));
  std::size_t i = 0;
  for (Value item; next(item); ++i) {
    if (!as_text(item) && !text_of(self).markup) {
      raise("sequence item " + std::to_string(i) + ": expected str instance, " + type_name(item) + " found");
    }
    const std::string piece = as_text(item) ? inserted(self, item) : escape_html(str(heap, item));
    heap.check_room(out.size() + separator.size() + piece.size());
    heap.step_bytes(separator.size() + piece.size());
    if (i > 0) out += separator;
    out += piece;
  }
  return like(renderer, self, out);
}

Value format(Renderer& renderer, const Value& self, const Arguments& arguments) {
  return like(renderer, self, format_braces(renderer, text_of(self), arguments));
}

Value format_map(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("format_map", arguments, {""}, 1);
  const Dict* dict = as_dict(bound.at(0));
  if (!dict) raise("format_map() takes a mapping, not " + type_name(bound.at(0)));
  Arguments named;
  for (const auto& [key, value] : dict->entries) {
    if (const Text* name = as_text(key)) named.keyword.emplace_back(name->utf8, value);
  }
  return like(renderer, self, format_braces(renderer, text_of(self), named));
}

template <bool (*Is)(char32_t)>
Value all_are(Renderer&, const Value& self, const Arguments& arguments) {
  const Bound bound("method", arguments, {});
  const std::u32string decoded = decode_utf8(text_of(self).utf8);
  return !decoded.empty() && std::all_of(decoded.begin(), decoded.end(), Is);
}

bool is_alphanumeric(char32_t c) {
  return is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c);
}

Value isidentifier(Renderer&, const Value& self, const Arguments& arguments) {
  const Bound bound("isidentifier", arguments, {});
  const std::u32string text = decode_utf8(as_text(self)->utf8);
  bool good = !text.empty();
  for (std::size_t i = 0; i < text.size(); ++i) {
    good = good && (text[i] == U'_' || is_alpha(text[i]) || (i > 0 && is_decimal(text[i])));
  }
  return good;
}

Value isprintable(Renderer&, const Value& self, const Arguments&) {
  const std::u32string decoded = decode_utf8(text_of(self).utf8);
  return std::all_of(decoded.begin(), decoded.end(), is_printable);
}

Value isascii(Renderer&, const Value& self, const Arguments&) {
  const std::string& text = text_of(self).utf8;
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

template <bool (*Is)(char32_t), bool (*IsOther)(char32_t)>
Value cased(Renderer&, const Value& self, const Arguments&) {
  bool some = false;
  for (const char32_t c : decode_utf8(text_of(self).utf8)) {
    if (IsOther(c) || is_titlecase(c)) return false;
    some |= Is(c);
  }
  return some;
}

Value istitle(Renderer&, const Value& self, const Arguments&) {
  bool some = false, in_word = false;
  for (const char32_t c : decode_utf8(text_of(self).utf8)) {
    const bool begins = is_upper(c) || is_titlecase(c);
    if (begins ? in_word : is_lower(c) && !in_word) return false;
    in_word = is_cased(c);
    some |= in_word;
  }
  return some;
}

template <bool kSuffix>
Value without(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound(kSuffix ? "removesuffix" : "removeprefix", arguments, {""}, 1);
  std::string_view text = text_of(self).utf8;
  const std::string_view part = bound.text(0, "");
  if (kSuffix && text.ends_with(part)) text.remove_suffix(part.size());
  if (!kSuffix && text.starts_with(part)) text.remove_prefix(part.size());
  return like(renderer, self, text);
}

// ljust, rjust, center. Python's center puts the odd blank left where the width is odd.
template <Side kTextSide>
Value justified(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("justify", arguments, {"", ""}, 1);
  const std::string& text = text_of(self).utf8;
  const std::string fill = bound[1] ? inserted(self, bound.at(1)) : " ";
  if (count_code_points(fill) != 1) raise("The fill character must be exactly one character long");
  const auto size = static_cast<std::int64_t>(count_code_points(text));
  const std::int64_t width = bound.integer(0, 0), blanks = width - size;
  if (blanks <= 0) return self;
  renderer.heap().check_room(static_cast<std::size_t>(std::min<std::int64_t>(blanks, INT64_MAX / 4)) * fill.size());
  const std::int64_t left = kTextSide == Side::kLeft    ? 0
                            : kTextSide == Side::kRight ? blanks
                                                        : blanks / 2 + (blanks & width & 1);
  std::string out;
  for (std::int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (std::int64_t i = left; i < blanks; ++i) out += fill;
  return like(renderer, self, out);
}

Value zfill(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("zfill", arguments, {""}, 1);
  const std::string& text = text_of(self).utf8;
  const std::int64_t zeros = bound.integer(0, 0) - static_cast<std::int64_t>(count_code_points(text));
  if (zeros <= 0) return self;
  renderer.heap().check_room(static_cast<std::size_t>(zeros));
  const std::size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  return like(renderer, self,
              text.substr(0, sign) + std::string(static_cast<std::size_t>(zeros), '0') + text.substr(sign));
}

Value expandtabs(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("expandtabs", arguments, {"tabsize"});
  const std::int64_t size = bound.integer(0, 8);
  if (size > 1'000) raise("expandtabs: tabsize is " + std::to_string(size) + ", expected at most 1000");
  std::string out;
  std::int64_t column = 0;
  for (const char32_t c : decode_utf8(text_of(self).utf8)) {
    if (c != U'\t') {
      append_utf8(out, c);
      column = c == U'\n' || c == U'\r' ? 0 : column + 1;
    } else if (size > 0) {
      const std::int64_t blanks = size - column % size;
      out.append(static_cast<std::size_t>(blanks), ' ');
      column += blanks;
    }
    renderer.heap().check_room(out.size());
  }
  return like(renderer, self, out);
}

struct MethodRow {
  std::string_view name;
  MethodBody body;
};
constexpr MethodRow kStringMethods[] = {{"capitalize", changed<capitalize>},
                                        {"casefold", changed<case_fold>},
                                        {"center", justified<Side::kBoth>},
                                        {"count", count},
                                        {"endswith", starts_or_ends<true>},
                                        {"expandtabs", expandtabs},
                                        {"find", find<false, false>},
                                        {"format", format},
                                        {"format_map", format_map},
                                        {"index", find<false, true>},
                                        {"isalnum", all_are<is_alphanumeric>},
                                        {"isalpha", all_are<is_alpha>},
                                        {"isascii", isascii},
                                        {"isdecimal", all_are<is_decimal>},
                                        {"isdigit", all_are<is_digit>},
                                        {"isidentifier", isidentifier},
                                        {"islower", cased<is_lower, is_upper>},
                                        {"isnumeric", all_are<is_numeric>},
                                        {"isprintable", isprintable},
                                        {"isspace", all_are<is_space>},
                                        {"istitle", istitle},
                                        {"isupper", cased<is_upper, is_lower>},
                                        {"join", join},
                                        {"ljust", justified<Side::kLeft>},
                                        {"lower", changed<to_lower>},
                                        {"lstrip", stripped<Side::kLeft>},
                                        {"partition", partition<false>},
                                        {"removeprefix", without<false>},
                                        {"removesuffix", without<true>},
                                        {"replace", replace},
                                        {"rfind", find<true, false>},
                                        {"rindex", find<true, true>},
                                        {"rjust", justified<Side::kRight>},
                                        {"rpartition", partition<true>},
                                        {"rsplit", split<true>},
                                        {"rstrip", stripped<Side::kRight>},
                                        {"split", split<false>},
                                        {"splitlines", splitlines},
                                        {"startswith", starts_or_ends<false>},
                                        {"strip", stripped<Side::kBoth>},
                                        {"swapcase", changed<swap_case>},
                                        {"title", changed<to_title>},
                                        {"upper", changed<to_upper>},
                                        {"zfill", zfill}};

}  // namespace

MethodBody find_string_method(std::string_view name) {
  for (const MethodRow& row : kStringMethods) {
    if (row.name == name) return row.body;
  }
  return nullptr;
}

}  // namespace junto::jinja
