// What training does to a router and inference does not: noise, and other rules of selection. The RouterSpec says what
// the finished model does.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/json.h"
#include "moe/router_spec.h"
#include "train/nn/counter_random.h"

namespace junto {

struct RouterTraining {
  enum class Noise : std::uint8_t {
    kNone,
    kGaussian,  // logits + amount * N(0, 1)
    kLearned,   // logits + softplus(x W_noise^T) * N(0, 1) (Shazeer et al., arXiv 1701.06538, eq. 4)
    kGumbel,    // logits + amount * Gumbel(0, 1)
    kJitter,    // the router's input times U(1 - amount, 1 + amount) (Fedus et al., arXiv 2101.03961, appendix)
  } noise = Noise::kNone;
  float amount = 1.0f;
  float temperature = 1.0f;   // divides the noisy logits (EvoMoE's tau, arXiv 2112.14397)
  bool noisy_weights = true;  // false: noise decides who is chosen, clean logits how much it counts
  bool sample = false;        // SparseMixer draws its experts and has its paper's gradient: see sparse_mixer.h
  bool balanced = false;      // BASE: one expert each, as many units for every expert (balanced_assignment.h)
  std::optional<SelectRule> select = {};  // in the place of the spec's

  bool operator==(const RouterTraining&) const = default;
};

/// {"noise": "gumbel", "amount": 1, "temperature": 2, "noisy_weights": false, "select": {...}, "balanced": false}.
/// Throws Error naming `where` and the field; `spec` is the router's.
RouterTraining parse_router_training(const Json& json, const RouterSpec& spec, std::string_view where);

/// x [units, D] times the jitter; x itself where the noise is of another kind.
at::Tensor jittered(const RouterTraining& training, const at::Tensor& x, const DrawPlace& place);

struct NoisyLogits {
  at::Tensor weigh;      // [units, E] under autograd
  at::Tensor select;     // [units, E] without gradient; undefined where `weigh` selects
  at::Tensor deviation;  // [units, E] under autograd, of learned noise; else undefined. What load_loss() takes
};
/// Logits [units, E] with noise. `noise_projection` [units, E] is x W_noise^T where the noise is learned.
NoisyLogits add_noise(const RouterTraining& training, const at::Tensor& logits, const at::Tensor& noise_projection,
                      const DrawPlace& place);

}  // namespace junto
