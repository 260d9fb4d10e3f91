// All that makes up a tokenizer, in the order in which a text passes through it.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "format/tokenizer/added_tokens.h"
#include "format/tokenizer/bpe.h"
#include "format/tokenizer/decoder.h"
#include "format/tokenizer/normalizer.h"
#include "format/tokenizer/pre_tokenizer.h"
#include "format/tokenizer/sentencepiece_bpe.h"
#include "format/tokenizer/unigram.h"
#include "format/tokenizer/vocabulary.h"
#include "format/tokenizer/word_models.h"

namespace junto::text {

using TokenModel = std::variant<WordLevel, WordPiece, Bpe, SentencePieceBpe, Unigram>;

struct TokenizerParts {
  std::string where;  // the file, for errors

  std::vector<AddedToken> added_tokens;  // ascending id
  AddedTokenMatcher raw_matcher;         // of those looked for before normalisation
  AddedTokenMatcher normalized_matcher;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  bool space_before_text = false;  // GGUF "llama": each stretch of text between tokens gets one
  Vocabulary vocabulary;           // of the model, without added tokens that it does not have
  TokenModel model;
  std::vector<TokenId> prefix, suffix;  // around a text with special tokens
  std::vector<DecoderStep> decoder;

  // By id, of model and added tokens.
  std::vector<std::uint8_t> special;  // 1: control token
  Vocabulary added_vocabulary;        // content of added tokens
  Vocabulary normalized_added;        // normal forms that differ from the content: these decode to them
  std::optional<TokenId> bos, eos, unk, pad;
  bool add_bos = false, add_eos = false;
  std::vector<TokenId> end_of_generation;  // ascending
};

/// Fills what follows from the rest: matchers, `special`, `added_vocabulary`, end_of_generation (added to what is in
/// it: eos and well-known names), add_bos and add_eos.
void finish(TokenizerParts& parts);

}  // namespace junto::text
