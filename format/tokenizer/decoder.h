// Token strings back to text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "format/tokenizer/regex.h"

namespace junto::text {

struct DecodeByteLevel {};     // characters to the bytes that they spell; all tokens joined
struct DecodeByteFallback {};  // runs of <0xHH> to their bytes; U+FFFD for each byte of a run that is not UTF-8
struct DecodeFuse {};          // all tokens joined
struct DecodeMetaspace {
  std::string replacement;
  bool drop_first;
};
struct DecodeReplace {
  std::optional<Regex> regex;
  std::string literal, content;
};
struct DecodeStrip {
  std::string content;
  std::size_t start, stop;
};  // characters at a token's ends
struct DecodeWordPiece {
  std::string prefix;
  bool cleanup;
};
struct DecodeBpe {
  std::string suffix;
};
struct DecodeCtc {
  std::string pad, delimiter;
  bool cleanup;
};

using DecoderStep = std::variant<DecodeByteLevel, DecodeByteFallback, DecodeFuse, DecodeMetaspace, DecodeReplace,
                                 DecodeStrip, DecodeWordPiece, DecodeBpe, DecodeCtc>;

/// The text of `tokens`; without steps, the tokens with a space between them.
std::string decode_tokens(const std::vector<DecoderStep>& steps, std::vector<std::string> tokens);

/// The bytes that `token` gives in the middle of a text.
std::string decode_bytes(const std::vector<DecoderStep>& steps, std::string token);

}  // namespace junto::text
