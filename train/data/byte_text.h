// Text as bytes: documents parted from text files, held apart for validation, drawn by step and seed alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace junto {

struct ByteTextOptions {
  std::vector<std::string> files;
  std::string separator;                           // parts documents inside a file; empty: a file is a document
  float validation_share = 0.05f;                  // of the documents, chosen by their text, whatever the others are
  std::int64_t max_bytes = std::int64_t{1} << 30;  // of a file
};
ByteTextOptions parse_byte_text(const Json& json, std::string_view where);

/// Tokens of a byte model: 0..255, and 256 between documents.
inline constexpr std::int64_t kByteVocabulary = 257;
inline constexpr std::int16_t kEndOfText = 256;

struct ByteText {
  std::vector<std::int16_t> train, validation;  // each document followed by kEndOfText
  std::int64_t train_documents = 0, validation_documents = 0;
};
/// Throws Error naming the file that cannot be read, or what part has too little text for `length` + 1 tokens.
ByteText read_byte_text(const ByteTextOptions& options, std::int64_t length);

/// Inputs and targets [sequences, length], int64.
struct TokenBatch {
  at::Tensor inputs, targets;
};
/// The batch of a step: spans that begin anywhere in the text, drawn from (seed, step) and nothing else.
TokenBatch draw_batch(const std::vector<std::int16_t>& text, std::int64_t sequences, std::int64_t length,
                      std::uint64_t seed, std::int64_t step);
/// Span number `first`, `first + 1`... of the text, one after the other; fewer where the text ends.
TokenBatch span_batch(const std::vector<std::int16_t>& text, std::int64_t first, std::int64_t sequences,
                      std::int64_t length);

}  // namespace junto
