// A conversation as the token ids that a model expects.
#pragma once

#include <cstdint>
#include <vector>

#include "base/json.h"
#include "format/model_chat.h"
#include "format/tokenizer.h"

namespace junto {

/// The ids of a conversation as the model was trained on it: the template's text, without special tokens around it, as
/// transformers' apply_chat_template has it. `messages` is a list of {"role", "content"}; the model speaks next.
std::vector<std::int32_t> encode_chat(const ModelChat& chat, const Tokenizer& tokenizer, const OrderedJson& messages);

}  // namespace junto
