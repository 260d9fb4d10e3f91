// The adapters of a model in training as a directory that lays them over its base.
#pragma once

#include <string>

#include "train/nn/language_model.h"

namespace junto {

/// Writes adapter_config.json and adapter_model.safetensors (float32) into `folder`, which is made: PEFT's LORA, which
/// PEFT loads, or the ROUTED_LORA of model/adapter_modules.h where adapters route. `base`: the path or name of what
/// they belong to. The model has adapters. Throws Error where files cannot be written.
void export_adapter(const LanguageModel& model, const std::string& base, const std::string& folder);

}  // namespace junto
