// Tokenizers in GGUF metadata, as llama.cpp reads them.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "format/metadata.h"
#include "format/tokenizer.h"
#include "format/tokenizer/named_patterns.h"
#include "format/tokenizer/parts.h"

namespace junto {
namespace text {
namespace {

constexpr std::size_t kMaxTokens = std::size_t{1} << 28;
constexpr std::size_t kMaxAddedBytes = 1024;

// tokenizer.ggml.token_type
enum GgufType : std::int32_t {
  kTypeNormal = 1,
  kTypeUnknown = 2,
  kTypeControl = 3,
  kTypeUserDefined = 4,
  kTypeUnused = 5,
  kTypeByte = 6
};

std::string count_of(std::size_t n, std::string_view what) {
  return std::to_string(n) + " " + std::string(what);
}

void check_lengths(const GgufTokenizerData& data, std::string_view where) {
  const std::size_t n = data.tokens.size();
  if (n == 0 || n > kMaxTokens) fail(where, "tokenizer.ggml.tokens has " + count_of(n, "tokens, expected 1..2^28"));
  const auto check = [&](std::string_view key, std::size_t found) {
    if (found != 0 && found != n) {
      fail(where,
           "tokenizer.ggml." + std::string(key) + " has " + count_of(found, "entries, expected ") + std::to_string(n));
    }
  };
  check("token_type", data.types.size());
  check("scores", data.scores.size());
}

void load_vocabulary(const GgufTokenizerData& data, TokenizerParts& parts) {
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    std::string token = data.tokens[i];
    if (valid_utf8_prefix(token) != token.size()) token = lossy_utf8(token);
    // Padding rows may have no name, or one twice: the first keeps it.
    if (token.empty() || parts.vocabulary.find(token) != kNoToken) token = "[EMPTY_" + std::to_string(i) + "]";
    parts.vocabulary.add(id, token);
    const std::int32_t type = data.types.empty() ? kTypeNormal : data.types[i];
    if (type != kTypeControl && type != kTypeUserDefined && type != kTypeUnknown) continue;
    if (token.size() > kMaxAddedBytes) {
      fail(parts.where, "token " + std::to_string(i) + " has " + count_of(token.size(), "bytes, expected at most ") +
                            std::to_string(kMaxAddedBytes) + " for one that is no normal token");
    }
    AddedToken added;
    added.id = id;
    added.content = token;
    added.special = type != kTypeUserDefined;
    parts.added_tokens.push_back(std::move(added));
  }
}

// "left right"; the space that ends `left` is never its first character.
/// Whether some token of text is longer than a character: a model that reads bytes has none.
bool needs_merges(const GgufTokenizerData& data) {
  constexpr std::int32_t kNormalType = 1;
  for (std::size_t id = 0; id < data.tokens.size(); ++id) {
    if (id < data.types.size() && data.types[id] != kNormalType) continue;
    const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
    if (std::count_if(data.tokens[id].begin(), data.tokens[id].end(), begins) > 1) return true;
  }
  return false;
}

std::vector<std::pair<std::string, std::string>> split_merges(const GgufTokenizerData& data, std::string_view where) {
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(data.merges.size());
  for (std::size_t i = 0; i < data.merges.size(); ++i) {
    const std::string& merge = data.merges[i];
    const std::size_t space = merge.find(' ', 1);
    if (space == std::string::npos || space + 1 == merge.size()) {
      fail(where, "tokenizer.ggml.merges[" + std::to_string(i) + "] is \"" + printable(merge) +
                      "\", expected two tokens with a space between them");
    }
    merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return merges;
}

void to_metaspace(TokenizerParts& parts) {
  parts.normalizer.emplace_back(Replace{std::nullopt, " ", "\u2581"});
  parts.decoder = {DecodeReplace{std::nullopt, "\u2581", " "}, DecodeByteFallback{}, DecodeFuse{}};
}

void load_gpt2(const GgufTokenizerData& data, TokenizerParts& parts) {
  const NamedPreTokenizer* pre = find_pre_tokenizer(data.pre);
  if (!data.normalizer.empty()) {
    const auto form = normal_form_of(data.normalizer);
    if (!form) {
      fail(parts.where,
           "junto.tokenizer.normalizer is \"" + printable(data.normalizer) + "\", expected NFC, NFD, NFKC or NFKD");
    }
    parts.normalizer.emplace_back(*form);
  }
  if (pre == nullptr) {
    std::vector<std::string_view> names;
    for (const auto& one : named_pre_tokenizers()) names.insert(names.end(), one.names.begin(), one.names.end());
    const std::string_view near = nearest(data.pre, names);
    fail(parts.where, "tokenizer.ggml.pre is \"" + printable(data.pre) + "\", expected a pre-tokenizer that Junto has" +
                          (near.empty() ? "" : " (did you mean \"" + std::string(near) + "\"?)"));
  }
  if (data.merges.empty() && needs_merges(data)) fail(parts.where, "tokenizer.ggml.merges is missing");
  for (const std::string_view pattern : pre->patterns) {
    parts.pre_tokenizer.emplace_back(Split{Regex(pattern, parts.where)});
  }
  BpeOptions options;
  options.ignore_merges = pre->ignore_merges;
  options.raw_bytes = !pre->metaspace;
  options.byte_fallback = pre->metaspace;
  if (pre->metaspace) {
    to_metaspace(parts);
  } else {
    parts.decoder = {DecodeByteLevel{}};
  }
  parts.model = Bpe(parts.vocabulary, split_merges(data, parts.where), options, parts.where);
}

void load_llama(const GgufTokenizerData& data, TokenizerParts& parts) {
  std::vector<float> scores = data.scores;
  if (scores.empty()) fail(parts.where, "tokenizer.ggml.scores is missing");
  for (float& score : scores) {
    if (std::isnan(score)) fail(parts.where, "tokenizer.ggml.scores has a NaN");
  }
  parts.space_before_text = data.add_space_prefix.value_or(true);
  to_metaspace(parts);
  if (parts.space_before_text) parts.decoder.emplace_back(DecodeStrip{" ", 1, 0});
  parts.model = SentencePieceBpe(parts.vocabulary, std::move(scores), parts.unk.value_or(kNoToken));
}

void load_t5(const GgufTokenizerData& data, TokenizerParts& parts) {
  if (data.scores.empty()) fail(parts.where, "tokenizer.ggml.scores is missing");
  const std::vector<double> scores(data.scores.begin(), data.scores.end());
  for (const double score : scores) {
    if (!std::isfinite(score)) fail(parts.where, "tokenizer.ggml.scores has a score that is not finite");
  }
  if (!data.charsmap.empty()) {
    const std::string blob(data.charsmap.begin(), data.charsmap.end());
    parts.normalizer.emplace_back(Charsmap(blob, parts.where));
  }
  if (data.remove_extra_whitespaces.value_or(false)) parts.normalizer.emplace_back(CollapseSpaces{});
  Metaspace space;
  space.prepend = data.add_space_prefix.value_or(true) ? Metaspace::Prepend::kAlways : Metaspace::Prepend::kNever;
  parts.pre_tokenizer.emplace_back(space);
  parts.decoder = {DecodeMetaspace{space.replacement, space.prepend == Metaspace::Prepend::kAlways}};
  parts.model = Unigram(parts.vocabulary, scores, parts.unk.value_or(kNoToken), false);
}

std::optional<TokenId> checked_id(std::optional<std::int32_t> id, std::string_view key, const TokenizerParts& parts) {
  if (id && !parts.vocabulary.contains(*id)) {
    fail(parts.where, "tokenizer.ggml." + std::string(key) + " is " + std::to_string(*id) + ", expected 0.." +
                          std::to_string(parts.vocabulary.size() - 1));
  }
  return id;
}

// A default id, where the vocabulary has it.
std::optional<TokenId> id_or(std::optional<std::int32_t> id, TokenId otherwise, const TokenizerParts& parts) {
  return id || !parts.vocabulary.contains(otherwise) ? id : std::optional(otherwise);
}

void load_special_tokens(const GgufTokenizerData& data, TokenizerParts& parts) {
  parts.bos = checked_id(data.bos_id, "bos_token_id", parts);
  parts.eos = checked_id(data.eos_id, "eos_token_id", parts);
  parts.unk = checked_id(data.unk_id, "unknown_token_id", parts);
  parts.pad = checked_id(data.pad_id, "padding_token_id", parts);
  for (const auto& end :
       {checked_id(data.eot_id, "eot_token_id", parts), checked_id(data.eom_id, "eom_token_id", parts)}) {
    if (end) parts.end_of_generation.push_back(*end);
  }
  if (data.model == "llama") {
    parts.bos = id_or(parts.bos, 1, parts);
    parts.eos = id_or(parts.eos, 2, parts);
    parts.unk = id_or(parts.unk, 0, parts);
  } else if (data.model == "t5") {
    parts.eos = id_or(parts.eos, 1, parts);
    parts.unk = id_or(parts.unk, 2, parts);
  }
}

void load_surroundings(const GgufTokenizerData& data, TokenizerParts& parts) {
  const NamedPreTokenizer* pre = data.model == "gpt2" ? find_pre_tokenizer(data.pre) : nullptr;
  const bool bos = data.add_bos.value_or(data.model == "llama" || (pre != nullptr && pre->add_bos));
  const bool eos = data.add_eos.value_or(data.model == "t5");
  if (bos && parts.bos) parts.prefix = {*parts.bos};
  if (eos && parts.eos) parts.suffix = {*parts.eos};
  if (data.add_sep.value_or(false)) {
    const auto sep = checked_id(data.sep_id, "seperator_token_id", parts);
    if (sep) parts.suffix.push_back(*sep);
  }
}

// tokenizer.huggingface.json, with BOS and EOS as the other keys say.
Tokenizer load_embedded_json(const GgufTokenizerData& data, std::string_view where) {
  if (data.huggingface_json.empty()) fail(where, "tokenizer.huggingface.json is missing");
  Json config = Json::object();
  const auto name = [&](std::string_view key, std::optional<std::int32_t> id) {
    if (!id || *id < 0 || static_cast<std::size_t>(*id) >= data.tokens.size()) return;
    const std::string& token = data.tokens[static_cast<std::size_t>(*id)];
    if (valid_utf8_prefix(token) == token.size()) config[std::string(key)] = token;
  };
  name("bos_token", data.bos_id);
  name("eos_token", data.eos_id);
  name("pad_token", data.pad_id);
  return load_tokenizer_json(data.huggingface_json, where, config);
}

}  // namespace
}  // namespace text

Tokenizer load_tokenizer_gguf(const GgufTokenizerData& data, std::string_view where) {
  using namespace text;  // NOLINT
  if (data.pre == kHuggingfaceJsonName) return load_embedded_json(data, where);
  if (data.model == "gemma4") {  // a name of its own for "gpt2" with the pre-tokenizer "gemma4"
    GgufTokenizerData same = data;
    same.model = "gpt2";
    same.pre = "gemma4";
    return load_tokenizer_gguf(same, where);
  }
  auto parts = std::make_shared<TokenizerParts>();
  parts->where = where;
  check_lengths(data, where);
  load_vocabulary(data, *parts);
  load_special_tokens(data, *parts);
  if (data.model == "gpt2")
    load_gpt2(data, *parts);
  else if (data.model == "llama")
    load_llama(data, *parts);
  else if (data.model == "t5")
    load_t5(data, *parts);
  else
    fail(where, "tokenizer.ggml.model is \"" + printable(data.model) + "\", expected gpt2, llama, t5 or gemma4");
  load_surroundings(data, *parts);
  finish(*parts);
  return Tokenizer(parts);
}

}  // namespace junto
