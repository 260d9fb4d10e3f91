// A trained model as a file that the engine runs.
#pragma once

#include <string>

#include "format/tokenizer.h"
#include "train/nn/language_model.h"

namespace junto {

/// Writes a GGUF file, complete or not at all, float32. Architecture `junto` over Qwen3 (or Llama, without norms of q
/// and k), routing in `junto.router`. `name` is general.name; `tokenizer` (TokenText::tokenizer) goes with the model.
void export_gguf(const LanguageModel& model, const GgufTokenizerData& tokenizer, const std::string& path,
                 const std::string& name);

}  // namespace junto
