// The architectures that Junto knows: a row each, a declaration each.
#pragma once

#include <span>
#include <string_view>

#include "model/config.h"
#include "model/config_reader.h"
#include "model/tensor_names.h"

namespace junto {

struct Architecture {
  std::string_view gguf;  // llama.cpp's name; empty where it has none
  std::string_view hf;    // config.json: architectures[0]
  ModelConfig (*declare)(const ConfigReader&);
  std::span<const TensorRule> tensors = {};       // published names beyond the common ones
  std::span<const TensorRule> gguf_tensors = {};  // names of llama.cpp's files that differ from the canonical ones
  bool gguf_pairs_rows = false;  // llama.cpp's files hold rows of q and k as neighbours, published ones as halves
};

/// Every row.
std::span<const Architecture> architectures();

/// What splitting and renaming the tensors of such a model need.
TensorSizes tensor_sizes(const ModelConfig& config);

/// What an opened checkpoint says of itself: its declaration evaluated and its tensors under canonical names.
struct ModelSource {
  const Architecture* architecture = nullptr;
  ModelConfig config;
  TensorTable tensors;
};

/// Throws Error naming an unknown architecture (with the nearest known), an unknown option or a bad value.
ModelSource describe_model(const Checkpoint& checkpoint);

}  // namespace junto
