// Under which architecture a model is written as GGUF. The name is llama.cpp's only where llama.cpp computes the same
// function: the writer reads its own metadata back and compares. Otherwise the architecture is `junto`, which others
// refuse, with junto.base_architecture and either junto.config (the text of config.json; rows in Hugging Face's order)
// or, where that is a GGUF name, the keys of that architecture.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "format/checkpoint.h"
#include "model/architectures.h"

namespace junto {

struct GgufIdentity {
  Metadata metadata;                    // architecture and hyperparameters; for a GGUF source all that it has
  ModelConfig written;                  // the model as a reader of the file sees it
  std::vector<NamedTensor> extra;       // tensors that belong to the metadata: rope_freqs.weight
  std::span<const TensorRule> renames;  // published: the name in the file
  bool fused_qkv = false;               // q, k and v are written as one tensor
  std::string note;                     // why the architecture is `junto`; empty where it is llama.cpp's
};

/// `source` is describe_model(checkpoint).
GgufIdentity identify_for_gguf(const Checkpoint& checkpoint, const ModelSource& source);

/// Makes the identity one that only Junto reads: for what llama.cpp cannot run, such as unequal experts. `why` becomes
/// the note.
void make_junto_only(GgufIdentity& identity, std::string why);

}  // namespace junto
