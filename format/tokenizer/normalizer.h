// What is done to a text before it is cut: each step rewrites the whole text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "format/tokenizer/charsmap.h"
#include "format/tokenizer/regex.h"
#include "format/tokenizer/unicode.h"

namespace junto::text {

struct LowerCase {};
struct Strip {
  bool left, right;
};                         // White_Space at the ends
struct StripAccents {};    // removes marks
struct Nmt {};             // SentencePiece's clean-up: control characters out, odd spaces to spaces
struct ByteLevelChars {};  // GPT-2's spelling of bytes
struct CollapseSpaces {};  // GGUF's remove_extra_whitespaces: ends stripped, runs of spaces to one
struct Prepend {
  std::string prefix;
};  // to texts that are not empty
struct Replace {
  std::optional<Regex> regex;
  std::string literal;  // where there is no regex; not empty
  std::string content;
};
struct BertClean {
  bool clean_text, chinese_chars, strip_accents, lowercase;
};

using NormalizerStep = std::variant<NormalForm, LowerCase, Strip, StripAccents, Nmt, ByteLevelChars, CollapseSpaces,
                                    Prepend, Replace, BertClean, Charsmap>;

/// `text` (valid UTF-8) after all steps. Throws Error "`where`: ..." where it would grow beyond 64 times its size and
/// 1 MiB, or a pattern exceeds its limits. `lost_start`, where given, is set if the text's first character went: what
/// follows does not begin where the text begins (which Metaspace asks).
std::string normalize(const std::vector<NormalizerStep>& steps, std::string text, const Deadline& deadline,
                      std::string_view where, bool* lost_start = nullptr);

}  // namespace junto::text
