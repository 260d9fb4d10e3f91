// Template text to tokens, with Jinja's white space rules: trim_blocks and lstrip_blocks on, as transformers sets them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace junto::jinja {

enum class TokenKind {
  kData,
  kOutputBegin,
  kOutputEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;  // data, name, value of a string literal, operator
  std::int64_t integer = 0;
  double real = 0;
};

/// Throws Error "name:line: reason".
std::vector<Token> tokenize(std::string_view source, std::string_view name);

/// A token as error messages quote it.
std::string describe(const Token& token);

}  // namespace junto::jinja
