// What follows from a tokenizer's declared parts.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "format/tokenizer/parts.h"

namespace junto::text {
namespace {

// Tokens that end an answer, whatever the file declares: its authors often name only one of several.
constexpr std::array<std::string_view, 16> kEndNames{"<|eot_id|>",      "<|im_end|>",  "<|end|>",       "<|return|>",
                                                     "<|call|>",        "<|flush|>",   "<|calls|>",     "<end_of_turn>",
                                                     "<|endoftext|>",   "<|eom_id|>",  "<|eot|>",       "<|eom|>",
                                                     "<|end_of_text|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"};
// The same of names that are text elsewhere (</s> strikes through in HTML): only where they are control tokens.
constexpr std::array<std::string_view, 12> kEndNamesIfSpecial{"</s>",
                                                              "<EOT>",
                                                              "_<EOT>",
                                                              "[EOT]",
                                                              "[EOS]",
                                                              "<end_of_utterance>",
                                                              "<eos>",
                                                              "<turn|>",
                                                              "<｜end▁of▁sentence｜>",
                                                              "[e~[",
                                                              "<|END_OF_TURN_TOKEN|>",
                                                              "<|endofturn|>"};

void find_end_of_generation(TokenizerParts& parts) {
  const auto id_of = [&](std::string_view name) {
    const TokenId id = parts.added_vocabulary.find(name);
    return id != kNoToken ? id : parts.vocabulary.find(name);
  };
  std::vector<TokenId>& ends = parts.end_of_generation;
  if (parts.eos) ends.push_back(*parts.eos);
  for (const std::string_view name : kEndNames) {
    if (const TokenId id = id_of(name); id != kNoToken) ends.push_back(id);
  }
  for (const std::string_view name : kEndNamesIfSpecial) {
    const TokenId id = id_of(name);
    if (id != kNoToken && parts.special[static_cast<std::size_t>(id)] != 0) ends.push_back(id);
  }
  // In the Harmony format <|end|> closes one message of several; the answer ends with <|return|> or <|call|>.
  const bool harmony = id_of("<|call|>") != kNoToken && id_of("<|return|>") != kNoToken;
  const bool solar = id_of("<|calls|>") != kNoToken && id_of("<|flush|>") != kNoToken;
  if (harmony || solar) std::erase(ends, id_of("<|end|>"));
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

}  // namespace

void finish(TokenizerParts& parts) {
  std::stable_sort(parts.added_tokens.begin(), parts.added_tokens.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  std::vector<AddedToken> raw, normalized;
  std::vector<std::string> raw_patterns, normalized_patterns;
  for (const AddedToken& token : parts.added_tokens) {
    parts.added_vocabulary.add(token.id, token.content);
    if (token.normalized) {
      normalized.push_back(token);
      normalized_patterns.push_back(
          normalize(parts.normalizer, token.content, Deadline(token.content.size()), parts.where));
      if (normalized_patterns.back() != token.content) parts.normalized_added.add(token.id, normalized_patterns.back());
    } else {
      raw.push_back(token);
      raw_patterns.push_back(token.content);
    }
  }
  parts.raw_matcher = AddedTokenMatcher(std::move(raw), raw_patterns);
  parts.normalized_matcher = AddedTokenMatcher(std::move(normalized), normalized_patterns);
  parts.special.assign(static_cast<std::size_t>(std::max(parts.vocabulary.size(), parts.added_vocabulary.size())), 0);
  for (const AddedToken& token : parts.added_tokens) {
    if (token.special) parts.special[static_cast<std::size_t>(token.id)] = 1;
  }
  parts.add_bos = parts.bos && !parts.prefix.empty() && parts.prefix.front() == *parts.bos;
  parts.add_eos = parts.eos && !parts.suffix.empty() && parts.suffix.back() == *parts.eos;
  find_end_of_generation(parts);
}

}  // namespace junto::text
