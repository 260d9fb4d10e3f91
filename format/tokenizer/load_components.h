// The components of a tokenizer.json that are lists of steps.
#pragma once

#include <vector>

#include "format/tokenizer/decoder.h"
#include "format/tokenizer/json_fields.h"
#include "format/tokenizer/normalizer.h"
#include "format/tokenizer/pre_tokenizer.h"

namespace junto::text {

/// Each appends the steps of one component, Sequences flattened. Throws Error for unknown types, by name.
void load_normalizer(const Field& field, std::vector<NormalizerStep>& steps);
void load_pre_tokenizer(const Field& field, std::vector<PreTokenizerStep>& steps);
void load_decoder(const Field& field, std::vector<DecoderStep>& steps);

}  // namespace junto::text
