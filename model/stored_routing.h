// `junto.router`: what a GGUF file says of its routers and experts beyond its architecture's own keys.
#pragma once

#include <optional>

#include "base/json.h"
#include "format/checkpoint.h"
#include "model/config.h"

namespace junto {

/// {"version": 1, "layers": {"3": {"router": {RouterSpec}, "kinds": {"4": "zero"}, "shared_expert": true,
/// "output_bias": true, "activation": {...}, "shared_activation": {...}, "rounds": {...}, "residual": {...},
/// "router_back": 1}}}: replaces the RouterSpec (with its own number of experts) of the named layers, marks experts
/// that are no feed-forward network, says whether a shared expert stands beside them and a bias joins their sum, and
/// what MoeSpec says besides; a dense layer may have an activation. Unknown versions, keys and kinds are refused by
/// name.
void apply_stored_routing(const Checkpoint& checkpoint, ModelConfig& config);

/// The value to store, or nothing where `config` says no more than `plain`, the architecture's own declaration.
std::optional<Json> stored_routing(const ModelConfig& config, const ModelConfig& plain);

}  // namespace junto
