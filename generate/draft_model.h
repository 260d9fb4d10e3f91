// A smaller model of the same vocabulary that guesses what the model will say (Leviathan et al., arXiv 2211.17192).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "format/tokenizer.h"
#include "generate/sampler.h"
#include "model/decoder.h"

namespace junto {

/// Throws Error naming both files where the draft's vocabulary is not the model's: the first token that differs, where
/// both have tokenizers (null: none).
void check_same_vocabulary(const Model& model, const Tokenizer* tokenizer, const Model& draft,
                           const Tokenizer* draft_tokenizer);

class DraftModel {
 public:
  DraftModel(std::shared_ptr<const Model> model, ThreadPool& pool, DecoderOptions options);

  /// Computes `tokens` ahead, so that the next guess() need not.
  void read(std::span<const std::int32_t> tokens);

  /// Replaces `out` by `count` tokens that are to follow `tokens`; by none where they do not fit the draft's context,
  /// or some of `tokens` are embeddings. Draws as the model will draw: with the same options and the same random
  /// numbers (a copy), so that equal distributions give equal tokens.
  void guess(std::span<const std::int32_t> tokens, int count, const SamplerOptions& sampler, Random random,
             std::vector<std::int32_t>& out);

 private:
  bool fits(std::span<const std::int32_t> tokens, int count) const;
  std::span<const float> feed(std::span<const std::int32_t> tokens);

  Decoder decoder_;
  Sequence sequence_;
  SamplerScratch scratch_;
  std::vector<std::int32_t> history_;
};

}  // namespace junto
