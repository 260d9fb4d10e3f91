// Pre-tokenizers that GGUF files name (tokenizer.ggml.pre) instead of writing their patterns down.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace junto::text {

/// tokenizer.ggml.pre of files whose tokenizer no name describes: llama.cpp refuses them, Junto reads
/// tokenizer.huggingface.json.
inline constexpr std::string_view kHuggingfaceJsonName = "junto-huggingface-json";

/// A family of names with the same pre-tokenizer: the text is cut at the matches of each pattern in turn, matches and
/// what lies between them being pieces.
struct NamedPreTokenizer {
  std::vector<std::string_view> names;     // the first is written by `junto convert`
  std::vector<std::string_view> patterns;  // in Oniguruma's syntax
  bool ignore_merges = false;              // a piece that is a token is that token
  bool add_bos = false;                    // unless the file says otherwise
  bool metaspace = false;                  // SentencePiece-style text ("▁", <0xHH>) instead of byte-level characters
};

std::span<const NamedPreTokenizer> named_pre_tokenizers();

/// The family of `name`, or nullptr.
const NamedPreTokenizer* find_pre_tokenizer(std::string_view name);

}  // namespace junto::text
