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

/// llama.cpp's name for a Hugging Face class; empty where it has none that Junto writes.
std::string_view llama_cpp_name(std::string_view hf_class);

/// What llama.cpp must be told of a model, and why it would not load it.
struct LlamaCppKeys {
  Metadata metadata;
  std::vector<NamedTensor> extra;  // rope_freqs.weight
  std::string refusal;             // what keeps llama.cpp from loading it; empty where nothing does
};

/// Writes only keys that llama.cpp reads for `architecture`: an option that it hard-codes has no key, so that reading
/// them back shows the difference. `hf_config` is config.json.
LlamaCppKeys llama_cpp_keys(std::string_view architecture, const ModelConfig& config, const TensorTable& tensors,
                            const Json& hf_config);

}  // namespace junto
