// A router's matrices and what loading them needs.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "model/config.h"
#include "moe/linear.h"

namespace junto {

/// See LogitsKind. Empty ones are not there.
struct RouterWeights {
  Linear hidden;                      // [logits_hidden, D] of two-layer logits
  Linear logits;                      // [E, D] or [E, logits_hidden]
  Linear residual;                    // [E, E of the routed layer below], where logits are carried
  std::vector<float> inverse_norms;   // [E] of the rows of `logits`, for cosines
  std::vector<float> selection_bias;  // [E]

  std::size_t bytes() const { return hidden.bytes() + logits.bytes() + residual.bytes(); }
};

/// One over the 2-norm of each row, in double; 0 for a row of zeros.
std::vector<float> inverse_row_norms(const WeightMatrix& weights);

/// Throws Error naming `where` and the block where a router needs what a decoder does not have: later tokens, or a
/// class of the token.
void check_decodable(const ModelConfig& config, const std::string& where);

/// Whether some router reads the logits of the routed layer below.
bool carries_logits(const ModelConfig& config);

/// [blocks]: whether a router above reads what the block's experts read.
std::vector<bool> kept_inputs(const ModelConfig& config);

/// E of the layer whose logits the residual of router `number` of `block` reads; 0 where there is none below.
int carried_experts(const ModelConfig& config, std::size_t block, int number);

}  // namespace junto
