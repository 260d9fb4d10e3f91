// RoutingPolicy: what one sequence asks of the routers. It overlays the model's RouterSpec: what it does not name stays
// the model's own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "moe/router_spec.h"

namespace junto {

/// The changes for one layer. Empty means: as the model says. compile_router() in route.h says what each does to a
/// spec.
struct LayerPolicy {
  std::optional<int> top_k = {};
  std::optional<float> top_p = {};           // selection by top-p instead, at most the model's k unless max_experts
  std::optional<float> threshold = {};       // selection by a threshold on the scores instead
  std::optional<int> max_experts = {};       // upper bound on the chosen, whatever the rule
  std::optional<bool> renormalise = {};      // false: raw weights; true: renormalised over the chosen
  std::vector<std::int32_t> forbidden = {};  // never chosen; ascending
  std::vector<std::int32_t> allowed = {};    // not empty: only these; ascending
  std::vector<std::pair<std::int32_t, float>> offsets = {};  // added to router logits; by id ascending
  // Lossy, of streamed experts only: the margin of moe/prefer_resident.h, and whether prune_late() of moe/prune.h
  // leaves out what is not in memory.
  std::optional<float> prefer_resident = {};
  std::optional<bool> skip_late = {};

  bool empty() const;
  bool operator==(const LayerPolicy&) const = default;
};

/// A value: copied with its sequence, compared for cache keys, changed between tokens.
struct RoutingPolicy {
  LayerPolicy all;                    // every layer
  std::map<int, LayerPolicy> layers;  // by block number; fields present here win over `all`

  bool empty() const { return all.empty() && layers.empty(); }
  /// What holds in block `layer`. A layer's mask (forbidden and allowed) replaces that of `all` whole, and so do its
  /// offsets; a layer's top_p or threshold puts away the other of the two.
  LayerPolicy for_layer(int layer) const;
  bool operator==(const RoutingPolicy&) const = default;
};

/// The JSON object, every key optional:
///   {"top_k": 2, "top_p": 0.7, "threshold": 0.1, "max_experts": 4, "renormalise": true,
///    "mask": ["!3", "!8-11"], "offsets": {"3": -1.5}, "prefer_resident": 0.02, "skip_late": true, "layers": {"4-7":
///    {"top_k": 1}, "8": {"mask": [0, 2]}}}
/// mask: "!3" forbids an expert, 3 or "3" allows it (with any allowed, the others are forbidden), "!8-11" a range.
/// layers: block numbers and ranges hold the keys above but "layers"; two that overlap must not set the same key.
/// Throws Error naming `where`, the key and what is allowed (with the nearest valid key).
RoutingPolicy routing_policy_from_json(const Json& json, std::string_view where);
/// Adds what `json` says of the layers "8" or "4-7", as one entry of "layers" does.
void add_layer_policy(std::string_view layers, const Json& json, std::string_view where, RoutingPolicy& policy);
Json to_json(const RoutingPolicy& policy);

/// Parses that object's text, the short form, or `@file` (either of them in a file of at most 1 MiB). Short form:
///   top_k=2,renormalise=true;4-7:top_k=1;8:mask=!3,!5,offsets=3:-1.5,4:2
/// `;` ends a section, which may begin with the layers it is for; `,` parts assignments, and entries of a mask or of
/// offsets where what follows has no `=`. An empty text changes nothing.
RoutingPolicy parse_routing_policy(std::string_view text, std::string_view where);

/// Throws Error where the policy names a layer without routed experts, an expert or a top_k that the layer does not
/// have (for `all`: that no layer has; layers with fewer experts take what they have). `experts_of_layer[l]` is E of
/// block l, 0 for dense blocks.
void check_policy(const RoutingPolicy& policy, const std::vector<int>& experts_of_layer, std::string_view where);

/// Throws Error naming the choice where the policy makes one that only streamed experts have.
void check_policy_of_resident_experts(const RoutingPolicy& policy, std::string_view where);

}  // namespace junto
