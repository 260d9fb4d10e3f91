// What a language model makes of a text: its loss, and where its routers sent the tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "train/data/token_text.h"
#include "train/nn/language_model.h"

namespace junto {

struct Measured {
  double loss = 0.0;  // cross entropy, nats a token
  std::int64_t tokens = 0;
  std::vector<std::vector<double>> load;  // [routed layers][E]: rows of each expert
  std::vector<double> token_loss;         // [tokens], nats
  std::vector<double> token_experts;      // [tokens]: mean over routed layers
};

/// The first `spans` spans of `length` tokens, `sequences` at a time. No gradient.
Measured measure(const LanguageModel& model, const TokenIds& text, std::int64_t spans, std::int64_t sequences,
                 std::int64_t length);

/// Sums of both; losses by their tokens.
void add(Measured& to, const Measured& more);

/// MaxVio of Wang et al. (arXiv 2408.15664): (largest load - mean load) / mean load, mean over layers. 0 without rows.
double max_violation(const Measured& measured);
/// Mean over layers of the share of experts that no token went to.
double idle_experts(const Measured& measured);
/// Of one layer.
double experts_per_token(const Measured& measured, std::size_t layer);

}  // namespace junto
