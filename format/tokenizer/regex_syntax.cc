#include "format/tokenizer/regex_syntax.h"

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "format/tokenizer/unicode.h"

namespace junto::text {
namespace {

// Inside of PCRE2 classes. PCRE2's own \s has U+180E, its \w lacks marks; Oniguruma's are Unicode's White_Space and \w.
constexpr std::string_view kSpaceSet =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view kWordSet = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
// At \b and at \w outside of classes Oniguruma asks another table: one that has superscripts and fractions of Latin-1.
constexpr std::string_view kBareWordSet = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr std::string_view kPunctuationSet = R"(\p{P}\p{S})";
constexpr int kMaxNesting = 50;

// A set of characters: the inside of a PCRE2 class, perhaps negated.
struct CharSet {
  std::string inside;
  bool negated = false;
};

constexpr std::array<std::pair<std::string_view, std::string_view>, 17> kNamedSets{{
    {"alnum", R"(\p{Alphabetic}\p{Nd})"},
    {"alpha", R"(\p{Alphabetic})"},
    {"ascii", R"(\x{0}-\x{7F})"},
    {"blank", R"(\x{9}\p{Zs})"},
    {"cntrl", R"(\p{Cc}\p{Cf}\p{Co}\p{Cs})"},
    {"digit", R"(\p{Nd})"},
    {"graph", R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co})"},
    {"lower", R"(\p{Lowercase})"},
    {"print", R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}\p{Zs})"},
    {"punct", kPunctuationSet},
    {"space", kSpaceSet},
    {"upper", R"(\p{Uppercase})"},
    {"xdigit", "0-9A-Fa-f"},
    {"word", kWordSet},
    {"whitespace", kSpaceSet},
    {"any", R"(\x{0}-\x{10FFFF})"},
    {"assigned", R"(\P{Cn})"},
}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 37> kLongCategories{{
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"unassigned", "Cn"},
    {"privateuse", "Co"},
    {"surrogate", "Cs"},
    {"letter", "L"},
    {"lowercaseletter", "Ll"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"titlecaseletter", "Lt"},
    {"uppercaseletter", "Lu"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"nonspacingmark", "Mn"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"closepunctuation", "Pe"},
    {"finalpunctuation", "Pf"},
    {"initialpunctuation", "Pi"},
    {"otherpunctuation", "Po"},
    {"openpunctuation", "Ps"},
    {"symbol", "S"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"mathsymbol", "Sm"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
}};

constexpr std::array<std::string_view, 8> kBinaryProperties{
    "alphabetic", "lowercase", "uppercase", "math", "emoji", "extendedpictographic", "ideographic", "dash"};

std::string folded(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == ' ' || c == '_' || c == '-') continue;
    out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  }
  return out;
}

bool is_alphanumeric(std::string_view name) {
  for (const char c : name) {
    if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_')) return false;
  }
  return !name.empty();
}

std::string hex_char(char32_t c) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string hex;
  do hex.insert(hex.begin(), digits[c & 15]);
  while (c >>= 4);
  return "\\x{" + hex + "}";
}

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : in_(pattern), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) element();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    fail(where_, "pattern " + printable(in_, 60) + ": " + what);
  }
  bool next_is(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  char peek() const { return at_ < in_.size() ? in_[at_] : '\0'; }

  void element() {
    const char c = in_[at_];
    if (c == '\\') return escape();
    if (c == '[') return atom(char_class(0));
    if (c == '(') return open_group();
    if (c == ')') {
      ++at_;
      atom_ = groups_.empty() ? out_.size() : groups_.back();
      if (!groups_.empty()) groups_.pop_back();
      out_ += ')';
      return;
    }
    if (c == '*' || c == '+' || c == '?') return quantifier(std::string(1, in_[at_++]), false);
    if (c == '{') {
      if (const auto interval = read_interval()) return quantifier(*interval, true);
      return atom("\\{");  // read_interval moved past it
    }
    if (c == '|' || c == '^' || c == '$') {
      ++at_;
      atom_ = out_.size();
      out_ += c;
      return;
    }
    const std::uint32_t size = utf8_size(c);
    const std::string_view literal = in_.substr(at_, size);
    at_ += size;
    atom(std::string(literal));
  }

  void atom(const std::string& text) {
    atom_ = out_.size();
    out_ += text;
  }

  // {n,m} {n,} {,m} {n}: as PCRE2 writes them; nothing where the brace is a literal (then it is passed).
  std::optional<std::string> read_interval() {
    std::size_t i = at_ + 1;
    const auto digits = [&] {
      std::string n;
      while (i < in_.size() && in_[i] >= '0' && in_[i] <= '9') n += in_[i++];
      return n;
    };
    const std::string low = digits();
    const bool comma = i < in_.size() && in_[i] == ',';
    if (comma) ++i;
    const std::string high = comma ? digits() : "";
    if (i >= in_.size() || in_[i] != '}' || (low.empty() && high.empty())) {
      ++at_;
      return std::nullopt;
    }
    at_ = i + 1;
    return "{" + (low.empty() ? "0" : low) + (comma ? "," : "") + high + "}";
  }

  void quantifier(const std::string& text, bool interval) {
    out_ += text;
    if (interval && (peek() == '+' || (peek() == '?' && text.find(',') == std::string::npos))) {
      // Ruby: a{1,3}+ repeats the interval, a{3}? makes it optional.
      out_.insert(atom_, "(?:");
      out_ += ")";
      out_ += in_[at_++];
    } else if (peek() == '?' || (peek() == '+' && !interval)) {
      out_ += in_[at_++];
    }
  }

  void open_group() {
    if (groups_.size() >= kMaxNesting) refuse("groups are nested deeper than 50");
    const std::size_t start = out_.size();
    if (next_is("(?#")) {
      const std::size_t end = in_.find(')', at_);
      if (end == std::string_view::npos) refuse("unclosed comment");
      at_ = end + 1;
      return;
    }
    ++at_;
    out_ += '(';
    if (peek() == '?')
      group_kind(start);
    else
      groups_.push_back(start);
  }

  void group_kind(std::size_t start) {
    for (const std::string_view kind : {"?:", "?=", "?!", "?>", "?<=", "?<!"}) {
      if (next_is(kind)) {
        out_ += kind;
        at_ += kind.size();
        groups_.push_back(start);
        return;
      }
    }
    if (next_is("?<")) {
      groups_.push_back(start);
      out_ += "?<";
      at_ += 2;
      return;
    }
    std::size_t i = at_ + 1;
    std::string flags;
    for (; i < in_.size() && (in_[i] == 'i' || in_[i] == 'm' || in_[i] == 'x' || in_[i] == '-'); ++i) {
      flags += in_[i] == 'm' ? 's' : in_[i];
    }
    if (i >= in_.size() || (in_[i] != ')' && in_[i] != ':')) refuse("unknown group (" + printable(in_.substr(at_, 4)));
    if (flags.find('x') != std::string::npos) refuse("extended syntax (?x) is not supported");
    out_ += "?" + flags + in_[i];
    at_ = i + 1;
    if (in_[i] == ':') groups_.push_back(start);
    atom_ = start;
  }

  std::optional<char32_t> read_hex(std::size_t digits_at, std::size_t min_digits, std::size_t max_digits) {
    char32_t value = 0;
    std::size_t n = 0;
    while (n < max_digits && digits_at + n < in_.size()) {
      const char c = in_[digits_at + n];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      value = value * 16 + static_cast<char32_t>(digit);
      ++n;
    }
    if (n < min_digits) return std::nullopt;
    at_ = digits_at + n;
    return value;
  }

  // \x41 \x{41} \u0041 \t ...: the character, at_ behind it; or nothing, at_ unchanged.
  std::optional<char32_t> escaped_char() {
    const char c = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    if (c == 'u') {
      const auto value = read_hex(at_ + 2, 4, 4);
      if (!value) refuse("\\u without four hexadecimal digits");
      return value;
    }
    if (c == 'x') {
      const bool braces = at_ + 2 < in_.size() && in_[at_ + 2] == '{';
      const auto value = read_hex(at_ + (braces ? 3 : 2), 1, braces ? 8 : 2);
      if (!value || (braces && peek() != '}')) refuse("malformed \\x");
      if (braces) ++at_;
      if (*value > 0x10FFFF || (*value >= 0xD800 && *value < 0xE000)) refuse("\\x beyond Unicode");
      if (!braces && *value > 0x7F) refuse("\\x above 7F names a byte, expected \\x{...}");
      return value;
    }
    constexpr std::string_view names = "tnrfvae";
    constexpr std::string_view values = "\t\n\r\f\v\a\x1b";
    if (const auto i = names.find(c); c != '\0' && i != std::string_view::npos) {
      at_ += 2;
      return static_cast<char32_t>(values[i]);
    }
    return std::nullopt;
  }

  // \s \d \w \h \p{...} and their opposites; at_ behind it. Nothing for other escapes.
  std::optional<CharSet> escaped_set() {
    const char c = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    const auto set = [&](std::string_view inside, bool negated) {
      at_ += 2;
      return CharSet{std::string(inside), negated};
    };
    switch (c) {
      case 's':
      case 'S':
        return set(kSpaceSet, c == 'S');
      case 'd':
      case 'D':
        return set(R"(\p{Nd})", c == 'D');
      case 'w':
      case 'W':
        return set(kWordSet, c == 'W');
      case 'h':
      case 'H':
        return set("0-9A-Fa-f", c == 'H');
      case 'p':
      case 'P':
        return property();
      default:
        return std::nullopt;
    }
  }

  CharSet property() {
    const bool opposite = in_[at_ + 1] == 'P';
    std::size_t i = at_ + 2;
    if (i >= in_.size() || in_[i] != '{') {
      if (i >= in_.size() || !is_alphanumeric(in_.substr(i, 1))) refuse("malformed \\p");
      at_ = i + 1;  // \pL
      return {"\\p{" + std::string(1, in_[i]) + "}", opposite};
    }
    const std::size_t end = in_.find('}', i);
    if (end == std::string_view::npos) refuse("unclosed \\p{");
    std::string_view name = in_.substr(i + 1, end - i - 1);
    at_ = end + 1;
    bool negated = opposite;
    if (name.starts_with('^')) name.remove_prefix(1), negated = !negated;
    const std::string fold = folded(name);
    for (const auto& [known, inside] : kNamedSets) {
      if (fold == known) return {std::string(inside), negated};
    }
    for (const auto& [known, category] : kLongCategories) {
      if (fold == known) return {"\\p{" + std::string(category) + "}", negated};
    }
    if (!is_alphanumeric(name)) refuse("unknown property " + printable(name));
    // Categories are one or two letters, upper case first in PCRE2.
    if (fold.size() <= 2) {
      std::string category = fold;
      category[0] = static_cast<char>(category[0] - 32);
      return {"\\p{" + category + "}", negated};
    }
    for (const auto known : kBinaryProperties) {
      if (fold == known) return {"\\p{" + fold + "}", negated};
    }
    // A script by itself: PCRE2's plain \p{Han} would mean its extensions.
    return {"\\p{sc:" + std::string(name) + "}", negated};
  }

  void escape() {
    const char c = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    if (c == '\0') refuse("ends in a backslash");
    if (const auto set = escaped_set()) {
      const std::string_view inside = set->inside == kWordSet ? kBareWordSet : std::string_view(set->inside);
      return atom((set->negated ? "[^" : "[") + std::string(inside) + "]");
    }
    if (const auto value = escaped_char()) return atom(hex_char(*value));
    if (c == 'b' || c == 'B') {
      at_ += 2;
      const std::string word = "[" + std::string(kBareWordSet) + "]";
      const std::string yes = "(?<=" + word + ")", no = "(?<!" + word + ")";
      const std::string then_yes = "(?=" + word + ")", then_no = "(?!" + word + ")";
      return atom(c == 'b' ? "(?:" + yes + then_no + "|" + no + then_yes + ")"
                           : "(?:" + yes + then_yes + "|" + no + then_no + ")");
    }
    constexpr std::string_view same = "AzZGRX";  // anchors and the like that mean the same
    if (same.find(c) != std::string_view::npos || (c >= '0' && c <= '9')) {
      at_ += 2;
      return atom(std::string("\\") + c);
    }
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) refuse(std::string("unknown escape \\") + c);
    const Decoded literal = decode_utf8(in_.data() + at_ + 1);
    at_ += 1 + literal.size;
    atom(hex_char(literal.c));
  }

  // One character inside of a class; nothing where a set or the end stands.
  std::optional<char32_t> class_char() {
    if (peek() == '\\') {
      if (const auto value = escaped_char()) return value;
      const char c = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
      if (c == 'b') {
        at_ += 2;
        return 8;
      }
      if (c == '\0' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
        refuse(std::string("unknown escape \\") + c + " in a class");
      }
      const Decoded literal = decode_utf8(in_.data() + at_ + 1);
      at_ += 1 + literal.size;
      return literal.c;
    }
    const Decoded literal = decode_utf8(in_.data() + at_);
    at_ += literal.size;
    return literal.c;
  }

  std::string posix_bracket() {
    const std::size_t end = in_.find(":]", at_);
    if (end == std::string_view::npos) refuse("unclosed [:");
    std::string_view name = in_.substr(at_ + 2, end - at_ - 2);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    for (const auto& [known, inside] : kNamedSets) {
      if (name == known) {
        at_ = end + 2;
        return (negated ? "[^" : "[") + std::string(inside) + "]";
      }
    }
    refuse("unknown class [:" + printable(name) + ":]");
  }

  // "[...]" at at_: a PCRE2 expression that matches exactly one character.
  std::string char_class(int depth) {
    if (depth > kMaxNesting) refuse("classes are nested deeper than 50");
    ++at_;
    const bool negated = peek() == '^';
    if (negated) ++at_;
    std::vector<std::string> operands;  // of &&
    std::string inside, others;         // of this operand: the inside of one class, and "|..." alternatives
    const auto finish_operand = [&] {
      if (inside.empty() && others.empty()) refuse("empty class");
      std::string one = inside.empty() ? "" : "[" + inside + "]";
      if (!others.empty()) one = "(?:" + (one.empty() ? others.substr(1) : one + others) + ")";
      operands.push_back(std::move(one));
    };
    for (bool first = true;; first = false) {
      if (at_ >= in_.size()) refuse("unclosed class");
      if (peek() == ']' && !first) break;
      if (next_is("&&")) {
        finish_operand();
        inside.clear(), others.clear();
        at_ += 2;
      } else if (next_is("[:")) {
        others += "|" + posix_bracket();
      } else if (peek() == '[') {
        others += "|" + char_class(depth + 1);
      } else if (peek() == '\\' && class_set(inside, others)) {
        continue;
      } else {
        class_range(inside);
      }
    }
    ++at_;
    if (operands.empty() && others.empty() && !inside.empty()) return (negated ? "[^" : "[") + inside + "]";
    finish_operand();
    std::string all;
    for (std::size_t i = 1; i < operands.size(); ++i) all += "(?=" + operands[i] + ")";
    all += operands[0];
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  bool class_set(std::string& inside, std::string& others) {
    const auto set = escaped_set();
    if (!set) return false;
    if (!set->negated)
      inside += set->inside;
    else
      others += "|[^" + set->inside + "]";
    return true;
  }

  void class_range(std::string& inside) {
    const char32_t low = *class_char();
    inside += hex_char(low);
    const bool range = peek() == '-' && at_ + 1 < in_.size() && in_[at_ + 1] != ']' && in_[at_ + 1] != '[';
    if (!range) return;
    const std::size_t dash = at_++;
    if (peek() == '\\') {
      if (escaped_set()) {  // a-\d: the dash is a literal
        at_ = dash + 1;
        inside += hex_char('-');
        return;
      }
    }
    const char32_t high = *class_char();
    if (high < low) refuse("a range of characters is out of order");
    inside += "-" + hex_char(high);
  }

  std::string_view in_, where_;
  std::size_t at_ = 0;
  std::string out_;
  std::size_t atom_ = 0;             // where the last atom begins in out_
  std::vector<std::size_t> groups_;  // where open groups begin in out_
};

}  // namespace

std::string pcre2_from_oniguruma(std::string_view pattern, std::string_view where) {
  return Translator(pattern, where).run();
}

}  // namespace junto::text
