#include "train/loop/ledger.h"

#include <array>
#include <string_view>
#include <utility>

#include "train/nn/expert_activation.h"

namespace junto {
namespace {

constexpr std::array<std::pair<const char*, double Work::*>, 7> kKinds = {{{"attention", &Work::attention},
                                                                           {"router", &Work::router},
                                                                           {"experts", &Work::experts},
                                                                           {"dense", &Work::dense},
                                                                           {"head", &Work::head},
                                                                           {"losses", &Work::losses},
                                                                           {"optimizer", &Work::optimizer}}};

void add_adapters(const LanguageModelShape& shape, double of_blocks, double tokens, Ledger& out) {
  for (std::size_t i = 0; i < kLinearLayers; ++i) {
    const auto layer = static_cast<LinearLayer>(i);
    if (!shape.adapters->has(layer)) continue;
    const auto [outputs, inputs] = shape.size_of(layer);
    const AdapterCost cost = cost_of_adapter(*shape.adapters, outputs, inputs);
    const double times = of_blocks * static_cast<double>(shape.layers);
    out.work.router += times * tokens * cost.router_flops;
    out.work.experts += times * tokens * cost.pair_flops;
    out.bytes += 4.0 * times * cost.values;
    if (!shape.adapters_route()) continue;
    out.work.losses += 7 * tokens * static_cast<double>(shape.layers * shape.adapters->experts());
  }
}

}  // namespace

Json to_json(const Work& work) {
  Json out = Json::object();
  for (const auto& [name, kind] : kKinds) out[name] = work.*kind;
  return out;
}

Ledger& Ledger::operator+=(const Ledger& other) {
  tokens += other.tokens;
  expert_rows += other.expert_rows;
  flops += other.flops;
  bytes += other.bytes;
  for (const auto& [name, kind] : kKinds) work.*kind += other.work.*kind;
  return *this;
}

Json to_json(const Ledger& ledger) {
  return {{"tokens", ledger.tokens},
          {"expert_rows", ledger.expert_rows},
          {"flops", ledger.flops},
          {"bytes", ledger.bytes},
          {"work", to_json(ledger.work)}};
}

Ledger ledger_from(const Json& json) {
  Ledger out;
  out.tokens = json.at("tokens").get<std::int64_t>();
  out.expert_rows = json.at("expert_rows").get<std::int64_t>();
  out.flops = json.at("flops").get<double>();
  out.bytes = json.at("bytes").get<double>();
  for (const auto& [name, kind] : kKinds) out.work.*kind = json.at("work").at(name).get<double>();
  return out;
}

Ledger work_of_batch(const LanguageModelShape& s, std::int64_t tokens, std::int64_t length, std::int64_t expert_rows,
                     std::int64_t busy_experts, bool recomputed, bool adapting) {
  constexpr double kBackward = 3.0;  // forward, and two products of the same size backward
  const double of_blocks = kBackward + (recomputed ? 1.0 : 0.0);
  const double of_base = of_blocks - (adapting ? 1.0 : 0.0), of_head = kBackward - (adapting ? 1.0 : 0.0);
  const double T = static_cast<double>(tokens), D = static_cast<double>(s.hidden);
  const double V = static_cast<double>(s.outputs()), E = s.router.experts;
  const double q = static_cast<double>(s.heads * s.head_dim), kv = static_cast<double>(s.kv_heads * s.head_dim);
  const double layers = static_cast<double>(s.layers), routed = static_cast<double>(s.routed_count());
  const double expert = expert_flops(s, s.hidden) / 2;
  const double dense_network = static_cast<double>(projected_width(s.activation, s.dense_width) + s.dense_width);
  const double shared_rounds = s.rounds.shared_last ? 1 : s.rounds.count;
  const double dense =
      D * ((layers - routed) * dense_network + routed * 3 * static_cast<double>(s.shared_width) * shared_rounds);
  const double router = router_flops(s, s.hidden);
  const double projections = layers * D * (2 * q + 2 * kv);
  Ledger out;
  out.tokens = tokens;
  out.expert_rows = expert_rows;
  out.work.attention = T * (of_base * 2 * projections + of_blocks * layers * 4 * static_cast<double>(length) * q);
  out.work.router = of_base * T * routed * router;
  out.work.experts = of_blocks * static_cast<double>(expert_rows) * 2 * expert;
  out.work.dense = of_base * T * 2 * dense;
  out.work.head = of_head * T * 2 * D * V;
  // Softmax and its gradient: maximum, difference, exponential, sum, quotient; difference and product.
  out.work.losses = 7 * T * (V + routed * s.rounds.count * E);
  const double read = projections + dense + routed * router / 2 + static_cast<double>(busy_experts) * expert;
  out.bytes = 4.0 * (of_base * read + of_head * D * V);  // read forward and backward, gradients written
  if (adapting) add_adapters(s, of_blocks, T, out);
  out.flops = out.work.sum();
  return out;
}

Ledger work_of_orthogonality(const LanguageModelShape& shape) {
  const double experts = shape.weighted_experts(), layers = static_cast<double>(shape.routed_count());
  const double values = expert_flops(shape, shape.hidden) / 2;  // of one expert
  Ledger out;
  out.work.losses = 3.0 * layers * 2 * experts * experts * values;  // all cosines, and backward twice that
  out.bytes = 12.0 * layers * experts * values;
  out.flops = out.work.sum();
  return out;
}

Ledger work_of_update(const OptimizerOptions& options, std::int64_t parameters) {
  Ledger out;
  out.work.optimizer = update_flops(options) * static_cast<double>(parameters);
  out.bytes = update_bytes(options) * static_cast<double>(parameters);
  out.flops = out.work.sum();
  return out;
}

}  // namespace junto
