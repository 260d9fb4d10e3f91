// Text as tokens: documents parted from text files, held apart for validation, drawn by step and seed alone. A token is
// a byte, what a tokenizer.json says, or what a BPE says that is trained on the training documents themselves. Traces
// (docs/trace.md) are texts whose tokens know which experts they asked for.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "format/text_records.h"
#include "format/tokenizer.h"

namespace junto {

/// A file of documents: plain text, JSON Lines or CSV (format/text_records.h), or a trace, whose name ends in .trace.
struct TextSource {
  std::string path;  // "cache:data/kjv.txt" stands in Junto's cache (scripts/fetch-data)
  RecordFormat format = RecordFormat::kNone;
  std::string field = "text";  // of a record: a key or a column

  /// The format that the name's ending says.
  TextSource(std::string file) : path(std::move(file)), format(record_format_of(path)) {}
  TextSource(const char* file) : TextSource(std::string(file)) {}
  bool is_trace() const { return path.ends_with(".trace"); }
};

struct TokenTextOptions {
  std::vector<TextSource> files;
  std::string separator;                           // parts documents inside a plain file; empty: it is one
  float validation_share = 0.05f;                  // of the documents, chosen by their text, whatever the others are
  std::int64_t max_bytes = std::int64_t{1} << 30;  // of a file
  std::string tokenizer = {};                      // tokenizer.json, or a checkpoint with one; empty: see vocabulary
  std::string end_of_text = {};  // the token between documents; empty: the tokenizer's own end of text
  std::int64_t vocabulary = 0;   // tokens of a BPE trained on the training documents; 0: none, tokens are bytes
};
TokenTextOptions parse_token_text(const Json& json, std::string_view where);

/// Of a byte model: tokens 0..255, and 256 between documents.
inline constexpr std::int64_t kByteVocabulary = 257;

using TokenIds = std::vector<std::int32_t>;

/// Which experts the tokens of a text asked for.
struct PathLabels {
  std::vector<int> experts;         // E of each stage (moe/stages.h); empty: nobody knows
  std::vector<std::uint8_t> asked;  // [tokens, outputs], stage by stage: 1 where the token asked for it

  bool empty() const { return experts.empty(); }
  std::int64_t outputs() const { return std::accumulate(experts.begin(), experts.end(), std::int64_t{0}); }
};

struct TokenText {
  TokenIds train, validation;  // each document followed by `end_of_text`
  std::int64_t train_documents = 0, validation_documents = 0;
  std::int64_t train_bytes = 0, validation_bytes = 0;  // of text, without what parts documents
  std::int64_t vocabulary = 0;                         // V: ids are 0..V-1
  std::int32_t end_of_text = 0;
  GgufTokenizerData tokenizer;  // what a checkpoint of the model says; V tokens, texts begin after `end_of_text`
  std::string tokenizer_json;   // empty for bytes
  PathLabels train_paths, validation_paths;     // of traces
  std::vector<std::int64_t> validation_begins;  // of traces: first tokens of documents
};
/// Throws Error naming the file that cannot be read, or what part has too little text for `length` + 1 tokens.
TokenText read_token_text(const TokenTextOptions& options, std::int64_t length);

/// Documents with a share below validation_share validate. It follows from the document alone.
double share_of_document(std::string_view document);

/// Where a file is: "cache:NAME" stands in Junto's cache. Throws Error where it is not there.
std::string text_path(const std::string& file);

/// Inputs and targets [sequences, length], int64.
struct TokenBatch {
  at::Tensor inputs, targets;
  at::Tensor paths;  // [sequences, length, outputs], uint8: what the inputs asked for, where that is known

  TokenBatch part(std::int64_t first, std::int64_t sequences) const;
};
/// The batch of a step: spans that begin anywhere in the text, drawn from (seed, step) and nothing else.
TokenBatch draw_batch(const TokenIds& text, std::int64_t sequences, std::int64_t length, std::uint64_t seed,
                      std::int64_t step, const PathLabels& paths = {});
/// Span number `first`, `first + 1`... of the text, one after the other; fewer where the text ends.
TokenBatch span_batch(const TokenIds& text, std::int64_t first, std::int64_t sequences, std::int64_t length,
                      const PathLabels& paths = {});
/// The spans of these numbers, each below spans_of().
TokenBatch batch_of_spans(const TokenIds& text, std::span<const std::int64_t> numbers, std::int64_t length,
                          const PathLabels& paths = {});
/// Whole spans of a text.
std::int64_t spans_of(const TokenIds& text, std::int64_t length);

}  // namespace junto
