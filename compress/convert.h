// Checkpoint to GGUF file: `junto convert` and `junto quantize`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "compress/gguf_identity.h"
#include "compress/tensor_plan.h"
#include "compress/tensor_types.h"
#include "format/named_tensors.h"

namespace junto {

/// A transform's say in what convert() writes.
struct FilePlan {
  GgufIdentity identity;
  std::vector<PlannedTensor> tensors;  // canonical names
  std::vector<TensorToWrite> made;     // tensors that the transform makes itself, canonical names
};

struct ConvertOptions {
  std::string source;  // a GGUF file or a Hugging Face directory
  std::string out;
  TypeRequest types;  // no type: as stored
  int threads = 0;    // 0: the cores that the process may use
  WriteProgress progress;
  /// Called when everything is planned and nothing written; empty: the model stays what it is.
  std::function<void(const Checkpoint&, const ModelSource&, FilePlan&)> transform = {};
};

struct ConvertReport {
  std::string architecture;  // of the written file
  std::size_t tensors = 0;
  std::uint64_t source_bytes = 0;  // of tensors
  std::uint64_t bytes = 0;
  double seconds = 0.0;
  std::vector<std::string> notes;  // what the user should know, a line each
};

/// Writes `out`, complete or not at all, in a memory that does not grow with the model. A Hugging Face model keeps
/// llama.cpp's architecture where llama.cpp computes the same (compress/gguf_identity.h), a GGUF file keeps what it
/// has. Throws Error naming file and reason.
ConvertReport convert(const ConvertOptions& options);

}  // namespace junto
