// What a checkpoint says about text: its tokenizer and the tokens that end an answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/checkpoint.h"
#include "format/tokenizer.h"

namespace junto {

/// The checkpoint's tokenizer; empty where it has none. Throws Error for one that is damaged or of an unknown kind.
std::optional<Tokenizer> load_tokenizer(const Checkpoint& checkpoint);

/// "gpt2", "llama" (GGUF), "BPE" (tokenizer.json); empty where there is no tokenizer.
std::string tokenizer_kind(const Checkpoint& checkpoint);

/// Ids that end an answer, ascending: those of the tokenizer, and eos_token_id of generation_config.json and
/// config.json.
std::vector<std::int32_t> end_of_generation(const Checkpoint& checkpoint, const Tokenizer* tokenizer);

}  // namespace junto
