// Hyperparameters under llama.cpp's names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "format/metadata.h"
#include "format/named_tensors.h"
#include "model/config.h"
#include "model/tensor_names.h"

namespace junto {

/// What llama.cpp must be told of a model.
struct LlamaCppKeys {
  Metadata metadata;
  std::vector<NamedTensor> extra;  // rope_freqs.weight
  std::string refusal;             // why llama.cpp would not run it; empty where it would
};

/// Writes only keys that llama.cpp reads for `architecture`: an option that it hard-codes has no key, so that reading
/// them back shows the difference. `hf_config` is config.json.
LlamaCppKeys llama_cpp_keys(std::string_view architecture, const ModelConfig& config, const TensorTable& tensors,
                            const Json& hf_config);

}  // namespace junto
