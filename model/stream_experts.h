// Where a loaded model's routed experts stand in their files, or in memory: what the expert cache is made of.
#pragma once

#include <memory>
#include <optional>

#include "format/packed_experts.h"
#include "model/weights.h"

namespace junto {

/// Whether some experts are not in the kernels' layout yet. Packed ones are.
bool has_experts_to_interleave(const Model& model);

/// The cache of all routed experts of `model`: streamed from their files through options.expert_memory bytes, or, where
/// that is 0, copied from where they are mapped. Throws Error where they do not stand in files as the kernels read
/// them, where the hot set of options is another model's, or where reads are to be verified but `checkpoint`, of which
/// the model was loaded, has no checksums; `packed` is its record.
std::unique_ptr<ExpertCache> stream_experts(const Model& model, const Checkpoint& checkpoint,
                                            const std::optional<PackedExperts>& packed, const LoadOptions& options);

}  // namespace junto
