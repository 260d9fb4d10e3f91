// From logits to a token. The chain is llama.cpp's: logit bias, penalties, top-k, typical, top-p, min-p, temperature,
// draw.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/random.h"
#include "format/checkpoint.h"

namespace junto {

/// Neutral values switch a stage off.
struct SamplerOptions {
  float temperature = 0.7f;  // 0: greedy, the lowest id among equals
  int top_k = 0;             // 0: all
  float top_p = 0.95f;       // 1: all. Holtzman et al., arXiv 1904.09751
  float min_p = 0.05f;       // 0: all; else a share of the best token's probability. arXiv 2407.01082
  float typical_p = 1.0f;    // 1: all. Meister et al., arXiv 2202.00666
  float repetition_penalty =
      1.0f;                       // divides positive logits, multiplies negative ones (Keskar et al., arXiv 1909.05858)
  float presence_penalty = 0.0f;  // subtracted from tokens that occurred
  float frequency_penalty = 0.0f;  // subtracted for each occurrence
  int penalty_last_n = 64;         // tokens that penalties look back at; -1: all
  std::map<std::int32_t, float> logit_bias;
};

/// Throws Error naming an option out of range, or a biased token outside the vocabulary.
void check_sampler(const SamplerOptions& options, std::int64_t vocab_size);

/// What the checkpoint recommends: generation_config.json, or GGUF general.sampling.*; else the defaults above.
SamplerOptions recommended_sampler(const Checkpoint& checkpoint);

/// Buffers that are kept from token to token.
struct SamplerScratch {
  struct Candidate {
    std::int32_t token;
    float logit;
    double probability;
  };
  std::vector<Candidate> candidates;
  std::vector<float> logits;
};

/// Draws one token; `history` holds the tokens so far (prompt and answer). The draw depends on logits, options, history
/// and `random` alone. Throws Error where a logit is NaN or +inf, or none is finite.
std::int32_t sample(std::span<const float> logits, const SamplerOptions& options, std::span<const std::int32_t> history,
                    Random& random, SamplerScratch& scratch);

/// The generator's state as bytes, for Sequence::states.
std::vector<std::byte> save_random(const Random& random);
/// Throws Error where the bytes are not such a state.
Random restore_random(std::span<const std::byte> bytes);

}  // namespace junto
