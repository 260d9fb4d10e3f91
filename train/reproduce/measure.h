// What a language model makes of a text: its loss, and where its routers sent the tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "analyze/experiment.h"
#include "train/data/token_text.h"
#include "train/nn/language_model.h"

namespace junto {

/// A routing is a round of a routed layer; where adapters route, that of one of them.
struct Measured {
  double loss = 0.0;  // cross entropy, nats a token
  std::int64_t tokens = 0;
  std::vector<std::vector<double>> load;         // [routings][E]: slots of each expert
  std::vector<double> token_loss;                // [tokens], nats
  std::vector<double> token_experts;             // [tokens]: mean over routings
  std::vector<std::vector<std::int32_t>> best;   // [routings][tokens]: the expert that counts most; -1: none
  std::vector<std::vector<double>> round_pairs;  // [routed layers][E * E], with several rounds: of a token, each expert
                                                 // of a round with each of the next
};

/// The first `spans` spans of `length` tokens, `sequences` at a time. No gradient. With `corruption` the model reads
/// corrupted_inputs().
Measured measure(const LanguageModel& model, const TokenIds& text, std::int64_t spans, std::int64_t sequences,
                 std::int64_t length, const Corruption& corruption = {});

/// Inputs [sequences, length] of spans from number `first_span` of `text`, of which corruption.share have been
/// replaced: by corruption.token or, where there is none, by tokens that stand anywhere in the text. What is replaced
/// follows from the place in the text alone.
at::Tensor corrupted_inputs(const at::Tensor& inputs, const TokenIds& text, std::int64_t first_span,
                            const Corruption& corruption);

/// Sums of both; losses by their tokens.
void add(Measured& to, const Measured& more);

/// MaxVio of Wang et al. (arXiv 2408.15664): (largest load - mean load) / mean load, mean over layers. 0 without rows.
double max_violation(const Measured& measured);
/// Mean over layers of the share of experts that no token went to.
double idle_experts(const Measured& measured);
/// Of one routing.
double experts_per_token(const Measured& measured, std::size_t routing);
/// Of the first `experts` of each routing, in `layers` layers: rows a token and layer, of all rounds.
double rows_per_token(const Measured& measured, std::int64_t experts, std::int64_t layers);
/// Those of `measured` whose experts are below `experts`.
Measured of_experts(const Measured& measured, std::int64_t experts);

/// Share of tokens, in the mean over routings, whose best expert is another one than `before`, of the same text. 0
/// where routings or tokens are not as many.
double churn(const Measured& before, const Measured& now);
/// Mean over routed layers of the cosine of two experts' weights, over all pairs; 1 where there is one expert.
double expert_cosine(const LanguageModel& model);

/// Mean over layers: share of slots whose expert its token had in the round before.
double round_repeats(const Measured& measured);
/// Mean over layers of |M - M^T| / |M|, sums of absolute values, M the pairs of experts of one round and the next: 0
/// where rounds are alike, 2 where no pair of two experts occurs in both orders.
double round_asymmetry(const Measured& measured);

}  // namespace junto
