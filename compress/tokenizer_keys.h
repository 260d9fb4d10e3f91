// A published tokenizer as GGUF metadata: vocabulary, merges, special tokens, chat template.
#pragma once

#include <string>

#include "format/checkpoint.h"
#include "format/metadata.h"

namespace junto {

/// Sets the tokenizer keys of `metadata` from the tokenizer.json, tokenizer_config.json, config.json and
/// generation_config.json of a Hugging Face directory, for `vocab_size` rows, and its chat templates. The result is
/// what the user should know: that there is no tokenizer, or that GGUF has no name for it; empty where all is well.
std::string add_tokenizer_keys(const Checkpoint& checkpoint, std::int64_t vocab_size, Metadata& metadata);

/// Sets general.sampling.* from generation_config.json.
void add_sampling_keys(const Checkpoint& checkpoint, Metadata& metadata);

}  // namespace junto
