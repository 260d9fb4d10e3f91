// Filters on text.
#include <charconv>
#include <cmath>

#include "format/jinja/builtins.h"
#include "format/jinja/python_text.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {
namespace {

/// What a text filter works on: str() of anything; a string keeps whether it is markup.
struct Input {
  Input(Renderer& renderer, const Value& value)
      : heap(renderer.heap()), text(str(heap, value)), markup(as_text(value) && as_text(value)->markup) {}
  Value result(std::string out) const { return heap.text(std::move(out), markup); }

  Heap& heap;
  std::string text;
  bool markup;
};

template <std::string (*Change)(std::string_view)>
Value change(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("filter", arguments, {});
  const Input input(renderer, value);
  return input.result(Change(input.text));
}

// Jinja's own title(): words begin after white space and - ( { [ <.
std::string filter_title(std::string_view text) {
  static constexpr std::u32string_view kOpeners = U"-({[<";
  const std::u32string decoded = decode_utf8(text);
  std::string out;
  for (std::size_t i = 0; i < decoded.size();) {
    std::size_t end = i;
    while (end < decoded.size() && !is_space(decoded[end]) && kOpeners.find(decoded[end]) == kOpeners.npos) ++end;
    if (end == i) {
      append_utf8(out, decoded[i++]);
      continue;
    }
    out += to_upper(encode_utf8(decoded.substr(i, 1)));
    out += to_lower(encode_utf8(decoded.substr(i + 1, end - i - 1)));
    i = end;
  }
  return out;
}

Value filter_trim(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("trim", arguments, {"chars"});
  const Input input(renderer, value);
  return input.result(
      std::string(bound.given(0) ? strip(input.text, bound.text(0, ""), Side::kBoth) : strip(input.text, Side::kBoth)));
}

Value filter_string(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("string", arguments, {});
  return as_text(value) ? value : renderer.heap().text(str(renderer.heap(), value));
}

Value filter_safe(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("safe", arguments, {});
  return renderer.heap().text(str(renderer.heap(), value), true);
}

Value filter_escape(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("escape", arguments, {});
  const Input input(renderer, value);
  return renderer.heap().text(input.markup ? input.text : escape_html(input.text), true);
}

Value filter_forceescape(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("forceescape", arguments, {});
  return renderer.heap().text(escape_html(str(renderer.heap(), value)), true);
}

Value filter_replace(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  Heap& heap = renderer.heap();
  const std::string text = str(heap, value), from = str(heap, bound.at(0)), to = str(heap, bound.at(1));
  const std::int64_t count = bound.given(2) ? bound.integer(2, -1) : -1;
  return heap.text(replace_all(text, from, to, count, heap.limits().output_bytes));
}

Value filter_indent(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("indent", arguments, {"width", "first", "blank"});
  const Text* source = as_text(value);
  if (!source) {
    require_defined(value);
    raise("indent: the value is " + type_name(value) + ", expected str");
  }
  Heap& heap = renderer.heap();
  const bool by_text = bound[0] && as_text(*bound[0]);
  const std::int64_t width = by_text ? 0 : bound.integer(0, 4);
  if (width > 10'000) raise("indent: width is " + std::to_string(width) + ", expected at most 10000");
  const std::string indention =
      by_text ? as_text(*bound[0])->utf8 : std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  const bool first = bound.flag(1, false), blank = bound.flag(2, false);
  const std::string text = source->utf8 + "\n";
  const std::vector<std::string_view> lines = split_lines(text, false);
  heap.check_room(text.size() + (lines.size() + 1) * (indention.size() + 1));
  std::string out = first ? indention : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !lines[i].empty())) out += indention;
    out += lines[i];
  }
  return heap.text(std::move(out), source->markup);
}

Value filter_truncate(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::int64_t limit = bound.integer(0, 255), leeway = bound.given(3) ? bound.integer(3, 5) : 5;
  const std::string_view end = bound.text(2, "...");
  const auto end_size = static_cast<std::int64_t>(count_code_points(end));
  if (limit < end_size) raise("expected length >= " + std::to_string(end_size) + ", got " + std::to_string(limit));
  if (leeway < 0) raise("expected leeway >= 0, got " + std::to_string(leeway));
  const std::int64_t size = length(renderer.heap(), value);
  if (size <= limit || size - limit <= leeway) return value;  // whatever it is
  if (!as_text(value)) raise("truncate: the value is " + type_name(value) + ", expected str");
  const Input input(renderer, value);
  const std::string cut = input.text.substr(0, byte_offset(input.text, static_cast<std::size_t>(limit - end_size)));
  if (bound.flag(1, false)) return input.result(cut + std::string(end));
  return input.result(cut.substr(0, cut.rfind(' ')) + std::string(end));
}

Value filter_center(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("center", arguments, {"width"});
  const Input input(renderer, value);
  Arguments width;
  width.positional.push_back(bound.integer(0, 80));
  return find_string_method("center")(renderer, input.result(input.text), width);
}

Value filter_wordcount(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("wordcount", arguments, {});
  std::int64_t count = 0;
  bool in_word = false;
  for (const char32_t c : decode_utf8(str(renderer.heap(), value))) {
    const bool word = c == U'_' || is_alpha(c) || is_numeric(c);
    count += word && !in_word;
    in_word = word;
  }
  return count;
}

std::string url_quote(std::string_view text, bool query) {
  static constexpr std::string_view kSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~";
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (kSafe.find(c) != std::string_view::npos || (c == '/' && !query)) {
      out += c;
    } else if (c == ' ' && query) {
      out += '+';
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

Value filter_urlencode(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("urlencode", arguments, {});
  Heap& heap = renderer.heap();
  if (as_text(value) || !is_iterable(value)) return heap.text(url_quote(str(heap, value), false));
  Value pairs = value;
  if (const Dict* dict = as_dict(value)) pairs = heap.make<View>(dict, View::Part::kItems);
  std::string out;
  for (const Value& pair : collect(heap, pairs)) {
    const std::vector<Value> parts = collect(heap, pair);
    if (parts.size() != 2) raise("urlencode: expected pairs of name and value");
    out += (out.empty() ? "" : "&") + url_quote(str(heap, parts[0]), true) + "=" + url_quote(str(heap, parts[1]), true);
  }
  return heap.text(std::move(out));
}

Value filter_format(Renderer& renderer, const Value& value, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.keyword.empty()) {
    raise("can't handle positional and keyword arguments at the same time");
  }
  Heap& heap = renderer.heap();
  Value values = heap.tuple(arguments.positional);
  if (!arguments.keyword.empty()) {
    Dict* dict = heap.make<Dict>();
    for (const auto& [name, argument] : arguments.keyword) dict->set(heap, heap.text(name), argument);
    values = dict;
  }
  const Input input(renderer, value);
  const Text form(input.text, input.markup, nullptr);
  return input.result(format_percent(renderer, form, values));
}

// int("12"), with optional sign, blanks and underscores; false where the text is no integer of the base.
bool parse_integer(std::string_view text, int base, std::int64_t& value) {
  std::string digits;
  text = strip(text, Side::kBoth);
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  static constexpr std::pair<int, std::string_view> kPrefixes[] = {{16, "xX"}, {8, "oO"}, {2, "bB"}};
  for (const auto& [prefix_base, letters] : kPrefixes) {
    const bool prefixed = text.size() > 2 && text[0] == '0' && letters.find(text[1]) != std::string_view::npos;
    if (prefixed && (base == prefix_base || base == 0)) {
      base = prefix_base;
      text.remove_prefix(2);
    }
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits += text[i];
    } else if (i == 0 || i + 1 == text.size() || text[i + 1] == '_') {
      return false;
    }
  }
  if (negative) digits.insert(0, "-");
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, base == 0 ? 10 : base);
  if (result.ec == std::errc::result_out_of_range) raise("the integer leaves the range of 64 bits");
  return result.ec == std::errc() && result.ptr == digits.data() + digits.size() &&
         digits.size() > (negative ? 1u : 0u);
}

bool parse_real(std::string_view text, double& value) {
  std::string digits;
  for (const char c : strip(text, Side::kBoth)) {
    if (c != '_') digits += c;
  }
  if (!digits.empty() && digits[0] == '+') digits.erase(0, 1);
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (result.ec == std::errc::result_out_of_range) {
    const bool tiny = digits.find("e-") != std::string::npos || digits.find("E-") != std::string::npos;
    value = std::copysign(tiny ? 0.0 : HUGE_VAL, digits[0] == '-' ? -1.0 : 1.0);
  } else if (result.ec != std::errc()) {
    return false;
  }
  return result.ptr == digits.data() + digits.size();
}

bool real_to_integer(double real, std::int64_t& integer) {
  if (!std::isfinite(real)) return false;
  if (std::abs(real) >= 9.2e18) raise("the integer leaves the range of 64 bits");
  integer = static_cast<std::int64_t>(real);
  return true;
}

Value filter_int(Renderer&, const Value& value, const Arguments& arguments) {
  const Bound bound("int", arguments, {"default", "base"});
  require_defined(value);
  std::int64_t integer = 0;
  if (as_integer(value, integer)) return integer;
  double real = 0;
  if (const Text* text = as_text(value)) {
    const std::int64_t base = bound.integer(1, 10);
    if (base != 0 && (base < 2 || base > 36)) raise("int() base must be >= 2 and <= 36, or 0");
    if (parse_integer(text->utf8, static_cast<int>(base), integer)) return integer;
    if (parse_real(text->utf8, real) && real_to_integer(real, integer)) return integer;
  } else if (as_real(value, real) && real_to_integer(real, integer)) {
    return integer;
  }
  return bound[0] ? bound.at(0) : Value(std::int64_t{0});
}

Value filter_float(Renderer&, const Value& value, const Arguments& arguments) {
  const Bound bound("float", arguments, {"default"});
  require_defined(value);
  double real = 0;
  if (as_real(value, real)) return real;
  if (const Text* text = as_text(value); text && parse_real(text->utf8, real)) return real;
  return bound[0] ? bound.at(0) : Value(0.0);
}

std::string indent_argument(const Value& value) {
  if (const Text* text = as_text(value)) return text->utf8;
  std::int64_t width = 0;
  if (!as_integer(value, width)) raise("tojson: indent is " + type_name(value) + ", expected int or str");
  if (width > 1'000) raise("tojson: indent is " + std::to_string(width) + ", expected at most 1000");
  return std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
}

// transformers' tojson: json.dumps without escaping of HTML, text beyond ASCII as it is.
Value filter_tojson(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonForm form;
  form.ensure_ascii = bound.flag(0, false);
  form.has_indent = bound.given(1);
  if (form.has_indent) form.indent = indent_argument(bound.at(1));
  form.item_separator = form.has_indent ? "," : ", ";
  form.key_separator = ": ";
  if (bound.given(2)) {
    const std::vector<Value> separators = collect(renderer.heap(), bound.at(2));
    if (separators.size() != 2 || !as_text(separators[0]) || !as_text(separators[1])) {
      raise("tojson: separators must be a pair of strings");
    }
    form.item_separator = as_text(separators[0])->utf8;
    form.key_separator = as_text(separators[1])->utf8;
  }
  form.sort_keys = bound.flag(3, false);
  return renderer.heap().text(dump_json(renderer.heap(), value, form));
}

constexpr FilterRow kFilters[] = {{"capitalize", change<capitalize>},
                                  {"center", filter_center},
                                  {"e", filter_escape},
                                  {"escape", filter_escape},
                                  {"float", filter_float},
                                  {"forceescape", filter_forceescape},
                                  {"format", filter_format},
                                  {"indent", filter_indent},
                                  {"int", filter_int},
                                  {"lower", change<to_lower>},
                                  {"replace", filter_replace},
                                  {"safe", filter_safe},
                                  {"string", filter_string},
                                  {"title", change<filter_title>},
                                  {"tojson", filter_tojson},
                                  {"trim", filter_trim},
                                  {"truncate", filter_truncate},
                                  {"upper", change<to_upper>},
                                  {"urlencode", filter_urlencode},
                                  {"wordcount", filter_wordcount}};

}  // namespace

Filter find_text_filter(std::string_view name) {
  for (const FilterRow& row : kFilters) {
    if (row.name == name) return row.filter;
  }
  return nullptr;
}

}  // namespace junto::jinja
