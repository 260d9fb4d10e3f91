#include "format/jinja/lexer.h"

#include <array>
#include <charconv>
#include <cstdio>

#include "base/error.h"
#include "format/jinja/python_text.h"

namespace junto::jinja {
namespace {

constexpr std::size_t kNone = std::string_view::npos;
constexpr std::size_t kMaxTokens = 1'000'000;

// Longest first.
constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_word(char32_t c) {
  return c == U'_' || is_alpha(c) || is_numeric(c);
}

std::string normalize_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out += text[i];
    } else {
      out += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view name) : source_(normalize_newlines(source)), name_(name) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_data();
    add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void error(const std::string& reason) { fail(std::string(name_) + ":" + std::to_string(line_), reason); }

  Token& add(TokenKind kind, std::string text) {
    if (tokens_.size() >= kMaxTokens) error("more than " + std::to_string(kMaxTokens) + " tokens");
    tokens_.push_back({kind, line_, std::move(text)});
    return tokens_.back();
  }

  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool looking_at(std::string_view text) const { return rest().substr(0, text.size()) == text; }

  // Goes on to `end`, counting lines.
  void advance(std::size_t end) {
    for (; at_ < end; ++at_) line_ += source_[at_] == '\n';
  }

  std::size_t skip_space(std::size_t at) const {
    return source_.size() - strip(std::string_view(source_).substr(at), Side::kLeft).size();
  }

  void lex_data();
  void add_data(std::size_t end, char sign, bool strips_line);
  void lex_comment();
  bool lex_raw(std::size_t tag);
  void lex_tag(TokenKind end_kind, std::string_view end_text);
  bool lex_tag_end(TokenKind kind, std::string_view text);
  void lex_expression_token();
  void lex_operator();
  bool lex_number();
  std::size_t digits_end(std::size_t at) const;
  void lex_integer();
  void lex_name();
  void lex_string();
  void end_block_tag(std::size_t after_sign, char sign);

  std::string source_;
  std::string_view name_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // what was read last ended a line, or nothing was read yet
  std::string brackets_;       // the closing brackets that are awaited
  std::vector<Token> tokens_;
};

// Text up to `end`, shortened as the tag that follows asks: "-" strips all white space before it; otherwise block tags
// and comments (not `{{`) strip the blanks between them and the start of their line, unless marked "+".
void Lexer::add_data(std::size_t end, char sign, bool strips_line) {
  std::string_view text = std::string_view(source_).substr(at_, end - at_);
  if (sign == '-') {
    text = strip(text, Side::kRight);
  } else if (sign != '+' && strips_line) {
    const std::size_t newline = text.rfind('\n');
    const std::size_t line_begin = newline == kNone ? 0 : newline + 1;
    if ((line_begin > 0 || line_starting_) && strip(text.substr(line_begin), Side::kLeft).empty()) {
      text = text.substr(0, line_begin);
    }
  }
  if (!text.empty()) add(TokenKind::kData, std::string(text));
  advance(end);
}

void Lexer::lex_data() {
  std::size_t tag = at_;
  for (;; ++tag) {
    tag = source_.find('{', tag);
    if (tag == kNone || tag + 1 >= source_.size()) {
      add(TokenKind::kData, std::string(rest()));
      return advance(source_.size());
    }
    const char second = source_[tag + 1];
    if (second == '{' || second == '%' || second == '#') break;
  }
  if (source_[tag + 1] == '%' && lex_raw(tag)) return;
  const char next = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
  const char sign = next == '-' || next == '+' ? next : '\0';
  const char second = source_[tag + 1];
  add_data(tag, sign, second != '{');
  advance(tag + (sign ? 3 : 2));
  line_starting_ = false;
  if (second == '#') {
    lex_comment();
  } else if (second == '%') {
    add(TokenKind::kBlockBegin, "{%");
    lex_tag(TokenKind::kBlockEnd, "%}");
  } else {
    add(TokenKind::kOutputBegin, "{{");
    lex_tag(TokenKind::kOutputEnd, "}}");
  }
}

// After `%}` or `#}`: "-" eats all white space; otherwise one newline is eaten, unless "+" was before the end.
void Lexer::end_block_tag(std::size_t after, char sign) {
  std::size_t end = after;
  if (sign == '-') {
    end = skip_space(after);
  } else if (sign != '+' && after < source_.size() && source_[after] == '\n') {
    ++end;
  }
  advance(end);
  line_starting_ = source_[end - 1] == '\n';
}

void Lexer::lex_comment() {
  const std::size_t end = source_.find("#}", at_);
  if (end == kNone) error("Missing end of comment tag");
  const char before = end > at_ ? source_[end - 1] : '\0';
  end_block_tag(end + 2, before == '-' || before == '+' ? before : '\0');
}

// `{% raw %} ... {% endraw %}`, where the text between is data. False where the tag is another.
bool Lexer::lex_raw(std::size_t tag) {
  const auto match = [this](std::size_t open, std::string_view word, char& before, char& after) {
    std::size_t at = open + 2;
    before = at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at++] : '\0';
    at = skip_space(at);
    if (source_.compare(at, word.size(), word) != 0) return kNone;
    at = skip_space(at + word.size());
    after = at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at++] : '\0';
    return source_.compare(at, 2, "%}") == 0 ? at + 2 : kNone;
  };
  char before = 0, after = 0;
  std::size_t body = match(tag, "raw", before, after);
  if (body == kNone || after == '+') return false;
  add_data(tag, before, true);
  if (after == '-') body = skip_space(body);
  advance(body);
  line_starting_ = source_[body - 1] == '\n';
  for (std::size_t end_tag = body; (end_tag = source_.find("{%", end_tag)) != kNone; ++end_tag) {
    const std::size_t end = match(end_tag, "endraw", before, after);
    if (end == kNone) continue;
    add_data(end_tag, before, true);
    end_block_tag(end, after);
    return true;
  }
  error("Missing end of raw directive");
}

bool Lexer::lex_tag_end(TokenKind kind, std::string_view text) {
  const bool block = kind == TokenKind::kBlockEnd;
  const char sign = looking_at("-") || (block && looking_at("+")) ? source_[at_] : '\0';
  const std::size_t end = at_ + (sign ? 1 : 0);
  if (source_.compare(end, 2, text) != 0) return false;
  add(kind, std::string(text));
  if (block) {
    end_block_tag(end + 2, sign);
  } else {
    advance(sign ? skip_space(end + 2) : end + 2);
    line_starting_ = source_[at_ - 1] == '\n';
  }
  return true;
}

void Lexer::lex_tag(TokenKind end_kind, std::string_view end_text) {
  for (;;) {
    if (brackets_.empty() && lex_tag_end(end_kind, end_text)) return;
    if (at_ >= source_.size()) {
      error(std::string("unexpected end of template, expected '") +
            (brackets_.empty() ? std::string(end_text) : std::string(1, brackets_.back())) + "'");
    }
    const std::size_t text = skip_space(at_);
    if (text != at_) {
      advance(text);
    } else {
      lex_expression_token();
    }
  }
}

void Lexer::lex_expression_token() {
  const char c = source_[at_];
  if (c >= '0' && c <= '9') {
    if (!lex_number()) lex_integer();
  } else if (c == '\'' || c == '"') {
    lex_string();
  } else if (is_word(decode_utf8(rest().substr(0, code_point_size(source_, at_)))[0])) {
    lex_name();
  } else {
    lex_operator();
  }
}

void Lexer::lex_operator() {
  for (const std::string_view op : kOperators) {
    if (!looking_at(op)) continue;
    if (op == "{" || op == "(" || op == "[") {
      brackets_ += op == "{" ? '}' : op == "(" ? ')' : ']';
    } else if (op == "}" || op == ")" || op == "]") {
      if (brackets_.empty()) error("unexpected '" + std::string(op) + "'");
      if (brackets_.back() != op[0]) {
        error("unexpected '" + std::string(op) + "', expected '" + std::string(1, brackets_.back()) + "'");
      }
      brackets_.pop_back();
    }
    add(TokenKind::kOperator, std::string(op));
    return advance(at_ + op.size());
  }
  error("unexpected char " + repr_text(rest().substr(0, code_point_size(source_, at_))) + " at " + std::to_string(at_));
}

// End of `\d+(_\d+)*` at `at`, or `at`.
std::size_t Lexer::digits_end(std::size_t at) const {
  const auto digit = [this](std::size_t i) { return i < source_.size() && source_[i] >= '0' && source_[i] <= '9'; };
  while (digit(at)) {
    ++at;
    if (at < source_.size() && source_[at] == '_' && digit(at + 1)) ++at;
  }
  return at;
}

// A float: fraction or exponent (or both) after digits, and no dot before it (as in `a.1.2`). False where it is none.
bool Lexer::lex_number() {
  if (at_ > 0 && source_[at_ - 1] == '.') return false;
  const std::size_t whole_end = digits_end(at_);
  std::size_t end = whole_end;
  if (end < source_.size() && source_[end] == '.' && digits_end(end + 1) > end + 1) end = digits_end(end + 1);
  if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
    std::size_t power = end + 1;
    if (power < source_.size() && (source_[power] == '+' || source_[power] == '-')) ++power;
    if (digits_end(power) > power) end = digits_end(power);
  }
  if (end == whole_end) return false;
  std::string digits;
  for (std::size_t i = at_; i < end; ++i) {
    if (source_[i] != '_') digits += source_[i];
  }
  double value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  add(TokenKind::kFloat, digits).real = value;
  advance(end);
  return true;
}

// 12, 1_000, 0x1f, 0b1, 0o7, 00.
void Lexer::lex_integer() {
  int base = 10;
  if (source_[at_] == '0' && at_ + 2 < source_.size()) {
    const char kind = static_cast<char>(source_[at_ + 1] | 0x20);
    base = kind == 'x' ? 16 : kind == 'b' ? 2 : kind == 'o' ? 8 : 10;
  }
  const auto digit = [this, base](std::size_t i) {
    if (i >= source_.size()) return false;
    const char c = source_[i];
    const int value = c >= '0' && c <= '9'                     ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                               : 99;
    return value < base;
  };
  std::size_t at = at_;
  if (base != 10) {
    at += source_[at_ + 2] == '_' ? 3 : 2;
    if (!digit(at)) base = 10, at = at_;  // the "0" of "0xg"
  }
  const bool zeros = base == 10 && source_[at] == '0';  // a decimal does not start with 0
  std::string digits;
  while (digit(at) && (!zeros || source_[at] == '0')) {
    digits += source_[at++];
    if (at < source_.size() && source_[at] == '_' && digit(at + 1)) ++at;
  }
  std::int64_t value = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), value, base).ec != std::errc()) {
    error("the integer " + printable(digits, 40) + " is too large, expected at most 2^63 - 1");
  }
  add(TokenKind::kInteger, digits).integer = value;
  advance(at);
}

void Lexer::lex_name() {
  std::size_t end = at_;
  while (end < source_.size()) {
    const std::size_t size = code_point_size(source_, end);
    if (!is_word(decode_utf8(std::string_view(source_).substr(end, size))[0])) break;
    end += size;
  }
  std::string word = source_.substr(at_, end - at_);
  if (is_numeric(decode_utf8(word)[0])) error("Invalid character in identifier");
  add(TokenKind::kName, std::move(word));
  advance(end);
}

// Hex digits of \x, \u and \U; returns the code point.
char32_t hex_escape(std::string_view digits, std::size_t size, bool& ok) {
  unsigned value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + std::min(size, digits.size()), value, 16);
  ok = digits.size() >= size && result.ec == std::errc() && result.ptr == digits.data() + size && value < 0x110000 &&
       (value < 0xd800 || value > 0xdfff);
  return value;
}

// Python's unicode-escape. Characters beyond ASCII pass Jinja as escapes of their own, so that a backslash before one
// quotes the backslash of that escape.
std::string unescape(std::string_view text, bool& ok) {
  std::string out;
  ok = true;
  for (std::size_t i = 0; i < text.size() && ok;) {
    if (text[i] != '\\' || i + 1 >= text.size()) {
      out += text[i++];
      continue;
    }
    const char c = text[i + 1];
    static constexpr std::string_view kLetters = "ntr\\'\"abfv";
    static constexpr std::string_view kMeanings = "\n\t\r\\'\"\a\b\f\v";
    const std::size_t letter = kLetters.find(c);
    if (letter != kNone) {
      out += kMeanings[letter];
      i += 2;
    } else if (c == '\n') {
      i += 2;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t size = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      append_utf8(out, hex_escape(text.substr(i + 2), size, ok));
      i += 2 + size;
    } else if (c >= '0' && c <= '7') {
      char32_t value = 0;
      std::size_t end = i + 1;
      for (; end < text.size() && end < i + 4 && text[end] >= '0' && text[end] <= '7'; ++end) {
        value = value * 8 + static_cast<char32_t>(text[end] - '0');
      }
      append_utf8(out, value);
      i = end;
    } else if (c == 'N') {
      ok = false;  // names of characters are not supported
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      const std::size_t size = code_point_size(text, i + 1);
      const auto code = static_cast<unsigned>(decode_utf8(text.substr(i + 1, size))[0]);
      char escape[16];
      std::snprintf(escape, sizeof escape, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
      out += escape;
      i += 1 + size;
    } else {
      out += '\\';
      ++i;
    }
  }
  return out;
}

void Lexer::lex_string() {
  const char quote = source_[at_];
  std::size_t end = at_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) error("unterminated string");
  bool ok = false;
  std::string value = unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1), ok);
  if (!ok) error("invalid escape in a string");
  add(TokenKind::kString, std::move(value));
  advance(end + 1);
}

}  // namespace

std::vector<Token> tokenize(std::string_view source, std::string_view name) {
  if (!valid_utf8(source)) fail(name, "the template is not valid UTF-8");
  return Lexer(source, name).run();
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kEnd:
      return "end of template";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kOutputEnd:
      return "end of print statement";
    case TokenKind::kBlockBegin:
      return "begin of statement block";
    case TokenKind::kOutputBegin:
      return "begin of print statement";
    case TokenKind::kData:
      return "template data";
    default:
      return printable(token.text, 40);
  }
}

}  // namespace junto::jinja
