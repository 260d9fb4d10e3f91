// A tokenizer as GGUF metadata, under llama.cpp's names, for files that others read too.
#include <algorithm>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "format/tokenizer.h"
#include "format/tokenizer/named_patterns.h"
#include "format/tokenizer/parts.h"

namespace junto {
namespace text {
namespace {

bool ignores_merges(const TokenizerParts& parts) {
  const auto* bpe = std::get_if<Bpe>(&parts.model);
  return bpe != nullptr && bpe->options().ignore_merges;
}

// The patterns of byte-level pre-tokenizers in the form of the table of names; empty where a step has no such form.
std::vector<std::string> patterns_of(const TokenizerParts& parts) {
  std::vector<std::string> patterns;
  const auto& steps = parts.pre_tokenizer;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (const auto* split = std::get_if<Split>(&steps[i])) {
      // Dropping what a pattern leaves out is the same as keeping its matches, where nothing is left out.
      const bool isolated = split->behavior == SplitBehavior::kIsolated;
      const bool inverted = split->behavior == SplitBehavior::kRemoved && split->invert;
      if (const auto* regex = std::get_if<Regex>(&split->pattern); regex != nullptr && (isolated || inverted)) {
        patterns.push_back(regex->pattern());
        continue;
      }
      const auto* any = std::get_if<AnyOf>(&split->pattern);
      if (any != nullptr && isolated && any->flags == kNumber && !any->ascii_punctuation) {
        patterns.push_back(R"(\p{N})");  // Digits, one by one
        continue;
      }
      return {};
    }
    const auto* level = std::get_if<ByteLevelSplit>(&steps[i]);
    if (level == nullptr || level->add_prefix_space || i + 1 != steps.size()) return {};
    if (level->regex) patterns.push_back(level->regex->pattern());
  }
  return patterns;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t i = 0; (i = text.find(from, i)) != std::string::npos; i += to.size())
    text.replace(i, from.size(), to);
}

// One spelling for patterns that cut alike.
std::string canonical(std::string_view pattern) {
  std::string out(pattern);
  constexpr std::string_view tail = R"(|\s+)";  // what no alternative matches is a piece anyway
  if (out.ends_with(R"(|\s+(?!\S)|\s+)")) out.resize(out.size() - tail.size());
  replace_all(out, "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", "(?i:'s|'t|'re|'ve|'m|'ll|'d)");
  replace_all(out, "\\r", "\r");
  replace_all(out, "\\n", "\n");
  for (std::size_t i = 0; (i = out.find("\\u", i)) != std::string::npos; ++i) {  // \u3040
    unsigned value = 0;
    const char* digits = out.data() + i + 2;
    const auto [end, error] =
        std::from_chars(digits, std::min(digits + 4, std::as_const(out).data() + out.size()), value, 16);
    if (error != std::errc() || end != digits + 4) continue;
    std::string utf8;
    append_utf8(utf8, value);
    out.replace(i, 6, utf8);
  }
  return out;
}

// Whether ignore_merges makes a difference: some token is not what merging makes of its text.
bool needs_ignore_merges(const TokenizerParts& parts) {
  const Bpe& bpe = std::get<Bpe>(parts.model);
  if (!bpe.options().ignore_merges || !bpe.options().raw_bytes) return bpe.options().ignore_merges;
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < parts.vocabulary.size(); ++id) {
    const auto bytes = ByteLevel::get().decode(parts.vocabulary.token(id));
    if (!parts.vocabulary.contains(id) || !bytes || parts.special[static_cast<std::size_t>(id)] != 0) continue;
    ids.clear();
    bpe.merge_bytes(parts.vocabulary, *bytes, ids);
    if (ids.size() != 1 || ids.front() != id) return true;
  }
  return false;
}

const NamedPreTokenizer* recognise(const TokenizerParts& parts) {
  const std::vector<std::string> found = patterns_of(parts);
  if (found.empty()) return nullptr;
  const bool ignores = ignores_merges(parts), free_choice = ignores && !needs_ignore_merges(parts);
  for (const NamedPreTokenizer& one : named_pre_tokenizers()) {
    if (one.metaspace || (one.ignore_merges != ignores && !free_choice)) continue;
    if (std::equal(found.begin(), found.end(), one.patterns.begin(), one.patterns.end(),
                   [](const auto& a, const auto& b) { return canonical(a) == canonical(b); })) {
      return &one;
    }
  }
  return nullptr;
}

void put_tokens(const TokenizerParts& parts, std::int64_t rows, GgufTokenizerData& data) {
  const std::int64_t own = std::max(parts.vocabulary.size(), parts.added_vocabulary.size());
  const auto n = static_cast<std::size_t>(std::max(rows, own));
  data.tokens.resize(n);
  data.types.assign(n, 1);
  for (std::size_t i = 0; i < n; ++i) {
    const auto id = static_cast<TokenId>(i);
    if (parts.vocabulary.contains(id)) {
      data.tokens[i] = parts.vocabulary.token(id);
    } else if (!parts.added_vocabulary.contains(id)) {
      data.tokens[i] = "[PAD" + std::to_string(i) + "]";
      data.types[i] = 5;  // unused
    }
  }
  for (const AddedToken& token : parts.added_tokens) {
    const auto i = static_cast<std::size_t>(token.id);
    data.tokens[i] = token.content;
    // Runs of "▁" are matched in raw text, which has spaces there: merging makes them, not matching.
    const bool merged =
        !token.special && token.content.find("\u2581") != std::string::npos && parts.vocabulary.contains(token.id);
    data.types[i] = token.special ? 3 : merged ? 1 : 4;
  }
  if (parts.unk && data.types[static_cast<std::size_t>(*parts.unk)] == 3)
    data.types[static_cast<std::size_t>(*parts.unk)] = 2;
}

void put_merges(const Bpe& bpe, const Vocabulary& vocabulary, GgufTokenizerData& data) {
  for (const Bpe::Merge& merge : bpe.merges()) {
    std::string text(vocabulary.token(merge.left));
    text += ' ';
    text += vocabulary.token(merge.right);
    data.merges.push_back(std::move(text));
  }
}

// SentencePiece's scores out of merges: a token is worth less the later the first merge that makes it stands.
void put_scores(const Bpe& bpe, GgufTokenizerData& data) {
  data.scores.assign(data.tokens.size(), 0.0f);
  const auto& merges = bpe.merges();
  float next = 0;
  for (const Bpe::Merge& merge : merges) {
    float& score = data.scores[static_cast<std::size_t>(merge.result)];
    if (score == 0.0f) score = --next;
  }
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    const std::string& token = data.tokens[i];
    if (token.size() == 6 && token.starts_with("<0x") && token.ends_with('>')) data.types[i] = 6;
    if (data.scores[i] == 0.0f && data.types[i] == 1) data.scores[i] = next - 1;  // no merge makes it: never preferred
  }
}

// Spaces to "▁", perhaps one before the text, and nothing else: what GGUF's "llama" does.
std::optional<bool> llama_space_prefix(const TokenizerParts& parts) {
  const auto* bpe = std::get_if<Bpe>(&parts.model);
  if (bpe == nullptr || !bpe->options().byte_fallback || bpe->options().raw_bytes) return std::nullopt;
  bool prefix = false;
  for (const NormalizerStep& step : parts.normalizer) {
    if (const auto* prepend = std::get_if<Prepend>(&step); prepend != nullptr && prepend->prefix == "\u2581") {
      prefix = true;
    } else if (const auto* replace = std::get_if<Replace>(&step);
               replace == nullptr || replace->regex || replace->literal != " " || replace->content != "\u2581") {
      return std::nullopt;
    }
  }
  for (const PreTokenizerStep& step : parts.pre_tokenizer) {
    if (const auto* space = std::get_if<Metaspace>(&step); space != nullptr && !space->split) {
      prefix = space->prepend != Metaspace::Prepend::kNever;
      continue;
    }
    const auto* split = std::get_if<Split>(&step);  // Gemma's split at spaces, of which none are left
    const auto* literal = split == nullptr ? nullptr : std::get_if<std::string>(&split->pattern);
    if (literal == nullptr || *literal != " ") return std::nullopt;
  }
  return prefix;
}

// "" for none, nothing where no single name says it.
std::optional<std::string> normalizer_name(const TokenizerParts& parts) {
  if (parts.normalizer.empty()) return "";
  const auto* form = std::get_if<NormalForm>(&parts.normalizer.front());
  if (parts.normalizer.size() != 1 || form == nullptr) return std::nullopt;
  return std::string(normal_form_name(*form));
}

}  // namespace
}  // namespace text

GgufTokenizerData gguf_tokenizer_data(const Tokenizer& tokenizer, std::int64_t rows,
                                      std::string_view huggingface_json) {
  using namespace text;  // NOLINT
  const TokenizerParts& parts = tokenizer.parts();
  GgufTokenizerData data;
  put_tokens(parts, rows, data);
  data.bos_id = parts.bos;
  data.eos_id = parts.eos;
  data.unk_id = parts.unk;
  data.pad_id = parts.pad;
  data.add_bos = parts.add_bos;
  data.add_eos = parts.add_eos;
  const auto* bpe = std::get_if<Bpe>(&parts.model);
  const bool surroundings = parts.prefix.size() <= 1 && parts.suffix.size() <= 1 &&
                            parts.prefix.empty() != parts.add_bos && parts.suffix.empty() != parts.add_eos;
  if (const auto prefix = llama_space_prefix(parts); prefix && surroundings) {
    data.model = "llama";
    data.pre = "default";
    data.add_space_prefix = *prefix;
    put_scores(*bpe, data);
    return data;
  }
  data.model = "gpt2";
  if (bpe != nullptr) put_merges(*bpe, parts.vocabulary, data);
  const NamedPreTokenizer* pre = recognise(parts);
  const auto normalizer = normalizer_name(parts);
  if (pre != nullptr && normalizer && surroundings && bpe->options().raw_bytes) {
    data.pre = pre->names.front();
    data.normalizer = *normalizer;
    return data;
  }
  if (huggingface_json.empty()) {
    fail(parts.where, "tokenizer has no name in GGUF (its pre-tokenizer or normalizer is not one of llama.cpp's)");
  }
  data.pre = kHuggingfaceJsonName;
  data.huggingface_json = huggingface_json;
  return data;
}

}  // namespace junto
