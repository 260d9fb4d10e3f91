// A trained model as a file that the engine runs.
#pragma once

#include <string>

#include "train/nn/language_model.h"

namespace junto {

/// Writes a GGUF file, complete or not at all, float32. Architecture `junto` over Qwen3 (or Llama, without norms of q
/// and k), routing in `junto.router`; a model of 257 tokens gets the byte tokenizer. `name` is general.name.
void export_gguf(const LanguageModel& model, const std::string& path, const std::string& name);

}  // namespace junto
