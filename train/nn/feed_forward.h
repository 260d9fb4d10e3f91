// A feed-forward network on all rows: dense layers, shared experts.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "moe/expert_kind.h"
#include "train/nn/project.h"

namespace junto {

/// What is added to the products of a network, of their inputs; unset: nothing.
struct FeedForwardUpdates {
  std::function<at::Tensor(const at::Tensor&)> gate = {}, up = {}, down = {};
};

/// x [rows, D] -> [rows, D]: down (act(gate x) * up x), or down act(up x) without a gate. gate_up [2F, D] or [F, D],
/// down [D, F]. All kinds but kSwigluOai.
at::Tensor feed_forward(const Activation& activation, const at::Tensor& x, const at::Tensor& gate_up,
                        const at::Tensor& down, const FeedForwardUpdates& updates = {});

}  // namespace junto
