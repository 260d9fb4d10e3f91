// Adapters of single linear layers under autograd: LoRA (Hu et al., arXiv 2106.09685), y = W x + alpha / r * B (A x),
// or several pairs that a router of the layer's own chooses for each row (DynMoLE, arXiv 2504.00661),
// y = W x + alpha / r * sum over e of w_e B_e (A_e x). What it computes, the engine's overlays compute (moe/linear.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "moe/router_spec.h"
#include "train/nn/parameters.h"
#include "train/nn/route.h"

namespace junto {

/// The linear layers of a block that may have one, in the order in which they run.
enum class LinearLayer : std::uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr std::size_t kLinearLayers = 7;
/// As recipes and PEFT name them: "q_proj".
std::string_view name_of(LinearLayer layer);

struct AdapterShape {
  std::int64_t rank = 8;  // r of each pair
  float alpha = 16.0f;
  std::optional<RouterSpec> router;  // of each adapted layer; without: one pair, for all rows
  std::array<bool, kLinearLayers> targets = {};
  double from = 0.0;  // share of the run from which on they train and all else does not

  bool has(LinearLayer layer) const { return targets[static_cast<std::size_t>(layer)]; }
  std::int64_t experts() const { return router ? router->experts : 1; }
  float scale() const { return alpha / static_cast<float>(rank); }
};

/// {"rank": 4, "alpha": 8, "router": {RouterSpec}, "targets": ["up_proj", ...], "from": 0.6}. Throws Error naming the
/// field, what is there and what is allowed.
AdapterShape parse_adapter_shape(const Json& json, std::string_view where);

/// Of one layer [N, K]; all undefined: it has none.
struct LinearAdapter {
  at::Tensor gate;  // [E, K], where there is a router
  at::Tensor a;     // [E * r, K], experts one after the other
  at::Tensor b;     // [N, E * r], 0 at first
};

/// The parameters to be made, named after `prefix` ("blk.3.attn_q"): <prefix>.lora_a, .lora_b, .moe_gate.
void request_adapter_parameters(const AdapterShape& shape, std::int64_t outputs, std::int64_t inputs,
                                const std::string& prefix, LinearAdapter& adapter,
                                std::vector<Parameters::Request>& requests);
/// Whether a parameter of that name is an adapter's.
bool is_adapter_parameter(std::string_view name);

/// What it adds for x [units, K]: [units, N]. All pairs are computed and then weighed, zeros included: at small ranks
/// two products over all of them cost less than gathering rows. `router`: the spec's; a routing is put behind `routed`.
at::Tensor adapter_update(const AdapterShape& shape, const CompiledRouter& router, const LinearAdapter& adapter,
                          const at::Tensor& x, std::vector<RoutedUnits>& routed);

/// Values of one adapter of a layer [N, K], and products and sums that one row costs in its router, and in its pairs.
struct AdapterCost {
  double values = 0.0, router_flops = 0.0, pair_flops = 0.0;
};
AdapterCost cost_of_adapter(const AdapterShape& shape, std::int64_t outputs, std::int64_t inputs);

}  // namespace junto
