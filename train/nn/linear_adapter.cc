#include "train/nn/linear_adapter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "moe/json_fields.h"
#include "moe/linear.h"
#include "train/nn/feed_forward.h"

namespace junto {
namespace {

constexpr std::array<std::string_view, kLinearLayers> kLayerNames = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                                     "gate_proj", "up_proj", "down_proj"};

std::array<bool, kLinearLayers> parse_targets(const Json& json, const JsonFields& fields) {
  std::array<bool, kLinearLayers> out = {};
  if (!json.is_array() || json.empty()) fields.fail_at("targets", quoted(json) + ", expected a list of linear layers");
  for (const Json& one : json) {
    const auto found =
        one.is_string() ? std::find(kLayerNames.begin(), kLayerNames.end(), one.get<std::string>()) : kLayerNames.end();
    if (found == kLayerNames.end()) {
      fields.fail_at("targets", "a list with " + quoted(one) + ", expected q_proj, k_proj, v_proj, o_proj, " +
                                    "gate_proj, up_proj or down_proj");
    }
    bool& target = out[static_cast<std::size_t>(found - kLayerNames.begin())];
    if (target) fields.fail_at("targets", "a list with " + quoted(one) + " twice, expected each once");
    target = true;
  }
  return out;
}

/// Of a matrix of so many inputs: the spread of PyTorch's linear layers, uniform within 1 / sqrt(inputs), as normal.
double first_deviation(std::int64_t inputs) {
  return 1.0 / std::sqrt(3.0 * static_cast<double>(inputs));
}

}  // namespace

std::string_view name_of(LinearLayer layer) {
  return kLayerNames[static_cast<std::size_t>(layer)];
}

AdapterShape parse_adapter_shape(const Json& json, std::string_view where) {
  constexpr std::string_view kTargets = R"({"type": "array", "minItems": 1, "uniqueItems": true, "items": {"enum":
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}})";
  JsonFields fields(json, where, "adapters");
  AdapterShape shape;
  fields.read("rank", 1, 1 << 16, shape.rank, "r of each pair of A and B");
  fields.read("alpha", 1e-6f, 1e6f, shape.alpha, "What pairs add is multiplied by alpha / rank");
  const Json* router = fields.any("router", "Of each adapted layer: as many pairs as it has experts; without: one");
  fields.required("targets");
  const Json* targets = fields.by_hand("targets", kTargets, "Linear layers that get one, in every block");
  if (fields.number("from", 0.0f, 1.0f, "Share of the run from which on adapters train and all else stays; without: 0"))
    shape.from = json["from"].get<double>();
  if (fields.recording()) parse_router_spec(*router, where);
  if (!fields.finish()) return shape;
  shape.targets = parse_targets(*targets, fields);
  if (router == nullptr) return shape;
  shape.router = parse_router_spec(*router, std::string(where) + ": adapters");
  check_overlay_router(*shape.router, std::string(where) + ": adapters: router");
  return shape;
}

void request_adapter_parameters(const AdapterShape& shape, std::int64_t outputs, std::int64_t inputs,
                                const std::string& prefix, LinearAdapter& adapter,
                                std::vector<Parameters::Request>& requests) {
  const std::int64_t all_ranks = shape.experts() * shape.rank;
  const auto matrix = [&](const char* name, std::vector<std::int64_t> sizes, at::Tensor& out, double deviation) {
    requests.push_back(
        {.name = prefix + name, .shape = std::move(sizes), .out = &out, .deviation = deviation, .decays = true});
  };
  matrix(".lora_a", {all_ranks, inputs}, adapter.a, first_deviation(inputs));
  matrix(".lora_b", {outputs, all_ranks}, adapter.b, 0.0);
  if (shape.router) matrix(".moe_gate", {shape.experts(), inputs}, adapter.gate, first_deviation(inputs));
}

bool is_adapter_parameter(std::string_view name) {
  return name.ends_with(".lora_a") || name.ends_with(".lora_b") || name.ends_with(".moe_gate");
}

at::Tensor adapter_update(const AdapterShape& shape, const CompiledRouter& router, const LinearAdapter& adapter,
                          const at::Tensor& x, std::vector<RoutedUnits>& routed) {
  at::Tensor low = project(x, adapter.a);
  if (shape.router) {
    RoutedUnits units = route_under_autograd(router, project(x, adapter.gate));
    const at::Tensor weights = weights_of_experts(units.plan, units.weights, shape.router->experts);
    low = (low.reshape({x.size(0), shape.experts(), shape.rank}) * weights.unsqueeze(2)).reshape(low.sizes());
    routed.push_back(std::move(units));
  }
  return project(low, adapter.b) * static_cast<double>(shape.scale());
}

AdapterCost cost_of_adapter(const AdapterShape& shape, std::int64_t outputs, std::int64_t inputs) {
  const auto all_ranks = static_cast<double>(shape.experts() * shape.rank);
  const double gate = shape.router ? static_cast<double>(shape.experts() * inputs) : 0.0;
  const double pairs = all_ranks * static_cast<double>(inputs + outputs);
  return {.values = gate + pairs, .router_flops = 2 * gate, .pair_flops = 2 * pairs};
}

}  // namespace junto
