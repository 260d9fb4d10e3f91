// str.format, the % operator, and Python's format specifications.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "format/jinja/builtins.h"
#include "format/jinja/python_text.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {
namespace {

constexpr int kMaxWidth = 100'000;
constexpr int kMaxPrecision = 1'000;

/// [[fill]align][sign][#][0][width][,][.precision][type]
struct Specification {
  std::string fill = " ";
  char align = '\0';  // < > ^ =
  char sign = '-';
  bool alternate = false;
  int width = 0;
  char grouping = '\0';
  int precision = -1;
  char type = '\0';
};

int read_number(std::string_view text, std::size_t& at, int most) {
  int value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    value = value * 10 + (text[at++] - '0');
    if (value > most) raise("a width or precision of a format is larger than " + std::to_string(most));
  }
  return value;
}

Specification parse_specification(std::string_view text) {
  Specification spec;
  std::size_t at = 0;
  const auto is_align = [&](std::size_t i) {
    return i < text.size() && std::string_view("<>^=").find(text[i]) != text.npos;
  };
  const std::size_t first = text.empty() ? 0 : code_point_size(text, 0);
  if (is_align(first)) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (is_align(0)) {
    spec.align = text[at++];
  }
  if (at < text.size() && std::string_view("+- ").find(text[at]) != text.npos) spec.sign = text[at++];
  if (at < text.size() && text[at] == '#') spec.alternate = true, ++at;
  if (at < text.size() && text[at] == '0') {
    if (!spec.align) spec.fill = "0", spec.align = '=';
    ++at;
  }
  spec.width = read_number(text, at, kMaxWidth);
  if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.grouping = text[at++];
  if (at < text.size() && text[at] == '.') {
    const std::size_t digits = ++at;
    spec.precision = read_number(text, at, kMaxPrecision);
    if (at == digits) raise("Format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) raise("Invalid format specifier");
  return spec;
}

// `prefix` (a sign, 0x) and body, filled to the width.
std::string pad(const Specification& spec, const std::string& prefix, const std::string& body, char default_align) {
  const auto size = static_cast<int>(count_code_points(prefix) + count_code_points(body));
  const int blanks = std::max(spec.width - size, 0);
  const char align = spec.align ? spec.align : default_align;
  const int left = align == '<' ? 0 : align == '^' ? blanks / 2 : blanks;
  std::string filling_left, filling_right;
  for (int i = 0; i < left; ++i) filling_left += spec.fill;
  for (int i = left; i < blanks; ++i) filling_right += spec.fill;
  return align == '=' ? prefix + filling_left + body : filling_left + prefix + body + filling_right;
}

std::string group(const std::string& digits, char separator, std::size_t every) {
  if (!separator) return digits;
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string sign_of(bool negative, char sign) {
  return negative ? "-" : sign == '-' ? "" : std::string(1, sign);
}

std::string printed(char type, int precision, bool alternate, double value) {
  const std::string form = std::string(alternate ? "%#" : "%") + ".*" + type;
  const int size = std::snprintf(nullptr, 0, form.c_str(), precision, value);
  std::string out(static_cast<std::size_t>(size) + 1, '\0');
  std::snprintf(out.data(), out.size(), form.c_str(), precision, value);
  out.resize(static_cast<std::size_t>(size));
  return out;
}

// The digits of |value|.
std::string real_digits(const Specification& spec, double value) {
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      return printed(spec.type, precision, spec.alternate, value);
    case 'n':
      return printed('g', precision, spec.alternate, value);
    case '%':
      return printed('f', precision, spec.alternate, value * 100) + "%";
    case '\0': {
      if (spec.precision < 0) return float_repr(value);
      std::string digits = printed('g', std::max(spec.precision, 1), false, value);
      return digits.find_first_of(".ei") == std::string::npos ? digits + ".0" : digits;
    }
    default:
      raise(std::string("Unknown format code '") + spec.type + "' for object of type 'float'");
  }
}

std::string format_real(const Specification& spec, double value) {
  const std::string digits = real_digits(spec, std::abs(value));
  const bool negative = std::signbit(value) && !std::isnan(value);
  return pad(spec, sign_of(negative, spec.sign), group(digits, spec.grouping, 3), '>');
}

std::string in_base(std::uint64_t value, unsigned base, bool upper) {
  std::string out;
  do {
    out += (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
    value /= base;
  } while (value > 0);
  std::reverse(out.begin(), out.end());
  return out;
}

std::string format_integer(const Specification& spec, std::int64_t value) {
  const std::uint64_t magnitude = value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  unsigned base = 10;
  const char* prefix = "";
  switch (spec.type) {
    case '\0':
    case 'd':
    case 'n':
      break;
    case 'b':
      base = 2, prefix = "0b";
      break;
    case 'o':
      base = 8, prefix = "0o";
      break;
    case 'x':
    case 'X':
      base = 16, prefix = spec.type == 'x' ? "0x" : "0X";
      break;
    case 'c': {
      if (value < 0 || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) raise("%c arg not in range(0x110000)");
      std::string character;
      append_utf8(character, static_cast<char32_t>(value));
      return pad(spec, "", character, '<');
    }
    default:
      if (std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos) {
        return format_real(spec, static_cast<double>(value));
      }
      raise(std::string("Unknown format code '") + spec.type + "' for object of type 'int'");
  }
  if (spec.precision >= 0) raise("Precision not allowed in integer format specifier");
  const std::string digits = group(in_base(magnitude, base, spec.type == 'X'), spec.grouping, base == 10 ? 3 : 4);
  return pad(spec, sign_of(value < 0, spec.sign) + (spec.alternate ? prefix : ""), digits, '>');
}

std::string format_text(const Specification& spec, std::string_view text) {
  if (spec.type && spec.type != 's')
    raise(std::string("Unknown format code '") + spec.type + "' for object of type 'str'");
  if (spec.align == '=') raise("'=' alignment not allowed in string format specifier");
  if (spec.precision >= 0) text = text.substr(0, byte_offset(text, static_cast<std::size_t>(spec.precision)));
  return pad(spec, "", std::string(text), '<');
}

}  // namespace

std::string format_value(Heap& heap, const Value& value, std::string_view specification) {
  if (specification.empty()) return str(heap, value);
  if (const Text* text = as_text(value)) return format_text(parse_specification(specification), text->utf8);
  const Specification spec = parse_specification(specification);
  std::int64_t integer = 0;
  if (as_integer(value, integer)) return format_integer(spec, integer);
  if (const auto* real = std::get_if<double>(&value)) return format_real(spec, *real);
  raise("unsupported format string passed to " + type_name(value) + ".__format__");
}

namespace {

/// str.format: {}, {0}, {name}, {a.b}, {a[b]}, !r !s, :specification (which may hold fields itself).
class BraceFormatter {
 public:
  BraceFormatter(Renderer& renderer, const Arguments& arguments, bool markup)
      : renderer_(renderer), arguments_(arguments), markup_(markup) {}

  std::string format(std::string_view form, int depth);

 private:
  std::string field(std::string_view text, int depth);
  Value lookup(std::string_view path);
  Value first_value(std::string_view name);

  Renderer& renderer_;
  const Arguments& arguments_;
  bool markup_;
  std::size_t next_ = 0;
  bool automatic_ = false, manual_ = false;
};

bool all_digits(std::string_view text) {
  return !text.empty() && text.size() < 10 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Value BraceFormatter::first_value(std::string_view name) {
  if (!name.empty() && !all_digits(name)) {
    if (const Value* value = arguments_.find_keyword(name)) return *value;
    raise("KeyError: " + repr_text(name));
  }
  (name.empty() ? automatic_ : manual_) = true;
  if (automatic_ && manual_) raise("cannot mix automatic field numbering and manual field specification");
  const std::size_t index = name.empty() ? next_++ : std::stoul(std::string(name));
  if (index >= arguments_.positional.size()) {
    raise("Replacement index " + std::to_string(index) + " out of range for positional args tuple");
  }
  return arguments_.positional[index];
}

Value BraceFormatter::lookup(std::string_view path) {
  const std::size_t end = std::min(path.find_first_of(".["), path.size());
  Value value = first_value(path.substr(0, end));
  path.remove_prefix(end);
  while (!path.empty()) {
    if (path[0] == '.') {
      const std::size_t stop = std::min(path.find_first_of(".[", 1), path.size());
      if (stop == 1) raise("Empty attribute in format string");
      value = renderer_.attribute(value, std::string(path.substr(1, stop - 1)));
      path.remove_prefix(stop);
    } else {
      const std::size_t stop = path.find(']');
      if (path[0] != '[' || stop == path.npos || stop == 1)
        raise("Only '.' or '[' may follow ']' in format field specifier");
      const std::string key(path.substr(1, stop - 1));
      value = renderer_.item(
          value, all_digits(key) ? Value(static_cast<std::int64_t>(std::stoll(key))) : renderer_.heap().text(key));
      path.remove_prefix(stop + 1);
    }
  }
  return value;
}

std::string BraceFormatter::field(std::string_view text, int depth) {
  const std::size_t colon = [&] {  // a colon inside [] belongs to the key
    std::size_t i = 0;
    for (int brackets = 0; i < text.size() && (brackets > 0 || text[i] != ':'); ++i) {
      brackets += text[i] == '[' ? 1 : text[i] == ']' ? -1 : 0;
    }
    return i;
  }();
  std::string_view name = text.substr(0, colon);
  const std::string specification = colon < text.size() ? format(text.substr(colon + 1), depth + 1) : "";
  char conversion = '\0';
  if (name.size() >= 2 && name[name.size() - 2] == '!') {
    conversion = name.back();
    name.remove_suffix(2);
  }
  Value value = lookup(name);
  Heap& heap = renderer_.heap();
  if (conversion == 'r' || conversion == 'a') {
    value = heap.text(repr(heap, value));
  } else if (conversion == 's') {
    value = heap.text(str(heap, value));
  } else if (conversion) {
    raise(std::string("Unknown conversion specifier '") + conversion + "'");
  }
  const bool escapes = markup_ && !(as_text(value) && as_text(value)->markup);
  const std::string out = format_value(heap, value, specification);
  return escapes ? escape_html(out) : out;
}

std::string BraceFormatter::format(std::string_view form, int depth) {
  if (depth > 1) raise("Max string recursion exceeded");
  std::string out;
  for (std::size_t at = 0; at < form.size(); ++at) {
    const char c = form[at];
    if ((c == '{' || c == '}') && at + 1 < form.size() && form[at + 1] == c) {
      out += c;
      ++at;
    } else if (c == '}') {
      raise("Single '}' encountered in format string");
    } else if (c == '{') {
      std::size_t end = at + 1;
      for (int braces = 1; end < form.size(); ++end) {
        braces += form[end] == '{' ? 1 : form[end] == '}' ? -1 : 0;
        if (braces == 0) break;
      }
      if (end >= form.size()) raise("expected '}' before end of string");
      const std::string piece = field(form.substr(at + 1, end - at - 1), depth);
      renderer_.heap().check_room(out.size() + piece.size());
      renderer_.heap().step_bytes(piece.size());
      out += piece;
      at = end;
    } else {
      out += c;
    }
  }
  return out;
}

/// One %-conversion: flags, width, precision and type, already read.
std::string percent_value(Heap& heap, Specification spec, char type, const Value& value, bool markup) {
  spec.type = type == 'i' || type == 'u' ? 'd' : type;
  if (type == 's' || type == 'r' || type == 'a') {
    const bool escapes = markup && !(as_text(value) && as_text(value)->markup);
    std::string text = type == 's' ? str(heap, value) : repr(heap, value);
    spec.type = 's';
    spec.fill = " ";
    if (spec.align == '=') spec.align = '>';
    if (!spec.align) spec.align = '>';
    return format_text(spec, escapes ? escape_html(text) : text);
  }
  if (!spec.align) spec.align = '>';
  std::int64_t integer = 0;
  if (type == 'c') {
    const Text* text = as_text(value);
    if (text ? count_code_points(text->utf8) != 1 : !as_integer(value, integer)) raise("%c requires int or char");
    spec.type = text ? 's' : 'c';
    return text ? format_text(spec, text->utf8) : format_integer(spec, integer);
  }
  double real = 0;
  if (!as_real(value, real)) {
    require_defined(value);
    raise(std::string("%") + type + " format: a real number is required, not " + type_name(value));
  }
  if (std::string_view("eEfFgG").find(type) != std::string_view::npos) return format_real(spec, real);
  if (!as_integer(value, integer)) {
    if (spec.type != 'd' || !(std::abs(real) < 9.2e18))
      raise(std::string("%") + type + " format: an integer is required, not float");
    integer = static_cast<std::int64_t>(real);
  }
  spec.precision = -1;
  return format_integer(spec, integer);
}

}  // namespace

std::string format_braces(Renderer& renderer, const Text& form, const Arguments& arguments) {
  renderer.heap().step_bytes(form.utf8.size());
  return BraceFormatter(renderer, arguments, form.markup).format(form.utf8, 0);
}

std::string format_percent(Renderer& renderer, const Text& form, const Value& values) {
  Heap& heap = renderer.heap();
  const Sequence* tuple = is_kind(values, Kind::kTuple) ? as_sequence(values) : nullptr;
  const Dict* dict = as_dict(values);
  std::size_t used = 0;
  const auto next_value = [&]() -> const Value& {
    if (used >= (tuple ? tuple->items.size() : 1)) raise("not enough arguments for format string");
    ++used;
    return tuple ? tuple->items[used - 1] : values;
  };
  const std::string_view text = form.utf8;
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      out += text[at];
      continue;
    }
    ++at;
    const Value* named = nullptr;
    if (at < text.size() && text[at] == '(') {
      const std::size_t end = text.find(')', at);
      if (end == text.npos) raise("incomplete format key");
      if (!dict) raise("format requires a mapping");
      named = dict->find(text.substr(at + 1, end - at - 1));
      if (!named) raise("KeyError: " + repr_text(text.substr(at + 1, end - at - 1)));
      at = end + 1;
    }
    Specification spec;
    for (; at < text.size() && std::string_view("-+ 0#").find(text[at]) != text.npos; ++at) {
      if (text[at] == '-') spec.align = '<', spec.fill = " ";
      if (text[at] == '0' && spec.align != '<') spec.align = '=', spec.fill = "0";
      if (text[at] == '+' || (text[at] == ' ' && spec.sign != '+')) spec.sign = text[at];
      if (text[at] == '#') spec.alternate = true;
    }
    spec.width = read_number(text, at, kMaxWidth);
    if (at < text.size() && text[at] == '.') spec.precision = read_number(text, ++at, kMaxPrecision);
    if (at >= text.size()) raise("incomplete format");
    if (text[at] == '%') {
      out += '%';
      continue;
    }
    if (std::string_view("diuoxXeEfFgGcrsa").find(text[at]) == text.npos) {
      raise("unsupported format character '" + std::string(1, text[at]) + "'");
    }
    const std::string piece = percent_value(heap, spec, text[at], named ? *named : next_value(), form.markup);
    heap.check_room(out.size() + piece.size());
    heap.step_bytes(piece.size());
    out += piece;
  }
  const bool all_used = dict || (tuple ? used == tuple->items.size() : used == 1);
  if (!all_used) raise("not all arguments converted during string formatting");
  return out;
}

double round_to(double value, std::int64_t digits) {
  if (!std::isfinite(value) || digits > 330) return value;
  if (digits < -310) return std::copysign(0.0, value);
  if (digits >= 0) {
    // printf rounds the exact binary value half to even, as Python does.
    const std::string text = printed('f', static_cast<int>(digits), false, value);
    return std::strtod(text.c_str(), nullptr);
  }
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / scale) * scale;
}

}  // namespace junto::jinja
