// `junto.paths`: that a GGUF file is no language model but predicts the experts of another one's tokens
// (model/path_predictor.h).
#pragma once

#include <vector>

#include "base/json.h"
#include "format/checkpoint.h"
#include "model/config.h"

namespace junto {

inline constexpr const char* kStoredPathsKey = "junto.paths";

/// {"version": 1, "experts": [8, 8, 8, 8]}: E of each stage (moe/stages.h) of the model that is predicted, 1..65535
/// each and 2^20 in all; the head, output.weight, has a row for each expert, stage by stage. Does nothing where the key
/// is missing. Throws Error naming file, key and field on anything else, and where there is no output.weight.
void apply_stored_paths(const Checkpoint& checkpoint, ModelConfig& config);

/// The value to store.
Json stored_paths(const std::vector<int>& experts);

}  // namespace junto
