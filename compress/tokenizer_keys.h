// A published tokenizer as GGUF metadata: vocabulary, merges, special tokens, chat template.
#pragma once

#include <string>

#include "format/checkpoint.h"
#include "format/metadata.h"

namespace junto {

/// Sets the tokenizer keys of `metadata` from the tokenizer.json, tokenizer_config.json and generation_config.json of a
/// Hugging Face directory, with `vocab_size` rows (those without a token are named [PAD17]). What is written is read
/// back and must cut a text of many scripts as the source does: of the pre-tokenizers that llama.cpp has names for, the
/// one that does is named. Where none does, the source's own file goes with it (tokenizer.huggingface.json), and the
/// result says so; else the result is empty. Does nothing for a directory without tokenizer.json.
std::string add_tokenizer_keys(const Checkpoint& checkpoint, std::int64_t vocab_size, Metadata& metadata);

/// Sets general.sampling.* from generation_config.json.
void add_sampling_keys(const Checkpoint& checkpoint, Metadata& metadata);

}  // namespace junto
