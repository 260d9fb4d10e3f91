// RoutingPolicy: what one sequence asks of the routers. It overlays the model's RouterSpec: what it does not name stays
// the model's own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "moe/router_spec.h"

namespace junto {

/// The changes for one layer. Empty means: as the model says.
struct LayerPolicy {
  std::optional<int> top_k;
  std::optional<float> top_p;      // replaces the selection rule by top-p (bounded by the model's k unless max_experts)
  std::optional<float> threshold;  // replaces the selection rule by a threshold on the scores
  std::optional<int> max_experts;  // upper bound on the chosen, whatever the rule
  std::optional<bool> renormalise;                      // false: raw weights; true: renormalised over the chosen
  std::vector<std::int32_t> forbidden;                  // never chosen
  std::vector<std::int32_t> allowed;                    // not empty: only these
  std::vector<std::pair<std::int32_t, float>> offsets;  // added to router logits

  bool empty() const;
  bool operator==(const LayerPolicy&) const = default;
};

/// A value: copied with its sequence, compared for cache keys, changed between tokens.
struct RoutingPolicy {
  LayerPolicy all;                    // every layer
  std::map<int, LayerPolicy> layers;  // by block number; fields present here win over `all`

  bool empty() const { return all.empty() && layers.empty(); }
  /// What holds in block `layer`.
  LayerPolicy for_layer(int layer) const;
  bool operator==(const RoutingPolicy&) const = default;
};

/// Parses the JSON object, or the short form `top_k=2,renormalise=true;4-7:top_k=1;8:mask=!3,!5`, or `@file`.
/// Throws Error naming `where`, the key and what is allowed (with the nearest valid key).
RoutingPolicy parse_routing_policy(std::string_view text, std::string_view where);
RoutingPolicy routing_policy_from_json(const Json& json, std::string_view where);
Json to_json(const RoutingPolicy& policy);

/// Throws Error where the policy names a layer or an expert that the model does not have, or a top_k over E.
/// `experts_of_layer[l]` is E of block l, 0 for dense blocks.
void check_policy(const RoutingPolicy& policy, const std::vector<int>& experts_of_layer, std::string_view where);

}  // namespace junto
