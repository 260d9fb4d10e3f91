// What a call takes beside weights and KV cache, told from the model and the number of rows: by this prompts are cut
// into calls that fit, and memory is kept free of experts.
#pragma once

#include <cstdint>

#include "model/weights.h"

namespace junto {

/// Floats of a row that the larger half of a block keeps in Workspace::turns, with as many experts as the model's own
/// routing gives at most.
std::int64_t turn_values_per_row(const ModelConfig& config);

/// Bytes of a decoder's buffers after a call of `rows` rows of which one wants logits, without hooks and adapters. A
/// little more than they are, up to a twentieth and 64 KiB a thread.
std::int64_t working_bytes(const Model& model, ActivationType activations, std::int64_t rows, int threads);

}  // namespace junto
