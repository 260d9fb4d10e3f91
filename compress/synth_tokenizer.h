// Tokenizers out of nothing: for models with random weights, and for those that read bytes.
#pragma once

#include <cstdint>

#include "format/tokenizer.h"

namespace junto {

/// A byte-level BPE of `vocab_size` tokens (at least 260): the bytes, then pieces of English-looking text, then
/// <|endoftext|>, <|im_start|> and <|im_end|>. Every token but these three is reached by merges, so that any text
/// becomes ids and any ids become text.
GgufTokenizerData synthetic_tokenizer(std::int64_t vocab_size);

/// Bytes as tokens: ids 0..255 are the bytes, 256 is <|endoftext|>, which begins and ends texts.
GgufTokenizerData byte_tokenizer();

}  // namespace junto
