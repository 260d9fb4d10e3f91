// A checkpoint as the beginning of a training run: any that the trainer can express.
#pragma once

#include <string>

#include "train/nn/language_model.h"

namespace junto {

/// The shape of the checkpoint at `path` (GGUF file, Hugging Face directory): Llama's decoder, with or without norms of
/// q and k per head, dense layers first, then equal SwiGLU experts under any RouterSpec, perhaps a shared expert.
/// Throws Error naming what the checkpoint has that the trainer does not.
LanguageModelShape shape_of_checkpoint(const std::string& path);

/// Its values, decoded to float32, into a model of that shape. Embeddings of a larger vocabulary keep their further
/// rows.
void import_checkpoint(const std::string& path, LanguageModel& model);

}  // namespace junto
