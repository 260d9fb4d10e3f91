#include "train/data/token_text.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "cli/fetch.h"
#include "cli/session.h"
#include "compress/synth_tokenizer.h"
#include "format/checkpoint.h"
#include "format/tokenizer/train_bpe.h"
#include "moe/json_fields.h"
#include "train/data/path_text.h"

namespace junto {
namespace {

constexpr std::size_t kMaxTokenizerBytes = std::size_t{256} << 20;

struct Document {
  std::string text;
  bool validates;
};

std::vector<Document> read_documents(const TokenTextOptions& options) {
  std::vector<Document> documents;
  const auto add = [&](std::string_view text) {
    if (text.empty()) return;
    documents.push_back({std::string(text), share_of_document(text) < static_cast<double>(options.validation_share)});
  };
  const auto add_parts = [&](std::string_view rest) {
    while (!options.separator.empty()) {
      const std::size_t end = rest.find(options.separator);
      if (end == std::string_view::npos) break;
      add(rest.substr(0, end));
      rest.remove_prefix(end + options.separator.size());
    }
    add(rest);
  };
  for (const TextSource& file : options.files) {
    const std::string whole = read_text_file(text_path(file.path), static_cast<std::size_t>(options.max_bytes));
    if (file.format == RecordFormat::kJsonLines) {
      read_json_lines(whole, file.path, file.field, add);
    } else if (file.format == RecordFormat::kCsv) {
      read_csv(whole, file.path, file.field, add);
    } else {
      add_parts(whole);
    }
  }
  return documents;
}

Tokenizer trained_tokenizer(const TokenTextOptions& options, const std::vector<Document>& documents, TokenText& into) {
  text::PieceCounts pieces;
  for (const Document& document : documents) {
    if (!document.validates) pieces.add(document.text);
  }
  into.tokenizer_json = text::tokenizer_json(text::train_bpe(pieces, {.vocabulary = options.vocabulary}));
  return load_tokenizer_json(into.tokenizer_json, "tokenizer");
}

/// A tokenizer.json, the one of a Hugging Face directory, or a GGUF file's.
Tokenizer given_tokenizer(const std::string& path, TokenText& into) {
  const bool is_directory = std::filesystem::is_directory(path);
  if (!is_directory && !path.ends_with(".json")) {
    const Checkpoint checkpoint = open_checkpoint(path);
    into.tokenizer = gguf_tokenizer_data(checkpoint.metadata);
    return load_tokenizer_gguf(into.tokenizer, path);
  }
  const std::string file = is_directory ? path + "/tokenizer.json" : path;
  into.tokenizer_json = read_text_file(file, kMaxTokenizerBytes);
  return load_tokenizer_json(into.tokenizer_json, file);
}

std::int32_t end_of_text(const TokenTextOptions& options, const Tokenizer& tokenizer) {
  if (!options.end_of_text.empty()) {
    const std::optional<std::int32_t> id = tokenizer.id_of(options.end_of_text);
    if (!id) fail(options.tokenizer, "has no token " + printable(options.end_of_text) + " (data.end_of_text)");
    return *id;
  }
  if (tokenizer.eos_id()) return *tokenizer.eos_id();
  if (const auto id = tokenizer.id_of("<|endoftext|>")) return *id;
  if (!tokenizer.end_of_generation().empty()) return tokenizer.end_of_generation().front();
  fail(options.tokenizer, "names no end of text, expected data.end_of_text");
}

/// The tokenizer, nothing for bytes; and what `text` says of it.
std::optional<Tokenizer> choose_tokenizer(const TokenTextOptions& options, const std::vector<Document>& documents,
                                          TokenText& text) {
  if (options.tokenizer.empty() && options.vocabulary == 0) {
    text.vocabulary = kByteVocabulary;
    text.end_of_text = kByteVocabulary - 1;
    text.tokenizer = byte_tokenizer();
    return std::nullopt;
  }
  Tokenizer tokenizer = options.tokenizer.empty() ? trained_tokenizer(options, documents, text)
                                                  : given_tokenizer(model_path(text_path(options.tokenizer)), text);
  text.vocabulary = tokenizer.vocab_size();
  text.end_of_text = end_of_text(options, tokenizer);
  if (text.tokenizer.tokens.empty())
    text.tokenizer = gguf_tokenizer_data(tokenizer, text.vocabulary, text.tokenizer_json);
  text.tokenizer.eos_id = text.end_of_text;
  if (!tokenizer.add_bos()) text.tokenizer.bos_id = text.end_of_text;
  text.tokenizer.add_bos = true;
  return tokenizer;
}

void fill(const TokenIds& text, const PathLabels& paths, std::int64_t begin, std::int64_t length, std::int64_t row,
          TokenBatch& batch) {
  std::int64_t* inputs = batch.inputs.data_ptr<std::int64_t>() + row * length;
  std::int64_t* targets = batch.targets.data_ptr<std::int64_t>() + row * length;
  for (std::int64_t i = 0; i < length; ++i) {
    inputs[i] = text[begin + i];
    targets[i] = text[begin + i + 1];
  }
  if (paths.empty()) return;
  const std::int64_t outputs = paths.outputs();
  std::copy_n(paths.asked.begin() + begin * outputs, length * outputs,
              batch.paths.data_ptr<std::uint8_t>() + row * length * outputs);
}

TokenBatch empty_batch(std::int64_t sequences, std::int64_t length, const PathLabels& paths) {
  TokenBatch batch{at::empty({sequences, length}, at::kLong), at::empty({sequences, length}, at::kLong), {}};
  if (!paths.empty()) batch.paths = at::empty({sequences, length, paths.outputs()}, at::kByte);
  return batch;
}

/// A name, or {"path": "a.csv", "column": "body"}.
TextSource parse_source(const Json& json, std::string_view where, std::size_t index) {
  constexpr std::array<std::string_view, 3> kFormats = {"text", "jsonl", "csv"};  // as RecordFormat
  if (json.is_string()) return TextSource(json.get<std::string>());
  JsonFields fields(json, where, "data: files[" + std::to_string(index) + "]");
  fields.required("path");
  TextSource source(fields.text("path", "The file; cache:NAME stands in Junto's cache", 1).value_or(""));
  if (const auto format = fields.choice("format", kFormats, "Without: what the name's ending says"))
    source.format = static_cast<RecordFormat>(*format);
  const auto field = fields.text("field", "Of JSON Lines: the key that holds the document; without: text", 1);
  const auto column = fields.text("column", "The same of CSV: a name in its first line", 1);
  if (!fields.finish()) return source;
  if (field && source.format != RecordFormat::kJsonLines)
    fields.fail_at("field", "set, expected it with format jsonl alone");
  if (column && source.format != RecordFormat::kCsv) fields.fail_at("column", "set, expected it with format csv alone");
  if (field || column) source.field = field ? *field : *column;
  return source;
}

}  // namespace

double share_of_document(std::string_view document) {
  // FNV-1a, then mixed: which documents validate does not change when others come or go.
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : document) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return Random(hash).uniform();
}

std::string text_path(const std::string& file) {
  constexpr std::string_view kCache = "cache:";
  if (!file.starts_with(kCache)) return file;
  const std::string path = cache_directory() + "/" + file.substr(kCache.size());
  if (!std::filesystem::exists(path)) fail(file, path + " is not there; scripts/fetch-data brings the texts");
  return path;
}

TokenBatch TokenBatch::part(std::int64_t first, std::int64_t sequences) const {
  TokenBatch out{inputs.narrow(0, first, sequences), targets.narrow(0, first, sequences), {}};
  if (paths.defined()) out.paths = paths.narrow(0, first, sequences);
  return out;
}

TokenTextOptions parse_token_text(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "data");
  TokenTextOptions options;
  fields.required("files", ", expected a list of text files");
  for (const Json* file :
       fields.list("files", "a list of names or objects",
                   "Text files, JSON Lines and CSV; or traces (.trace) alone, whose paths are learned", 1,
                   JsonFields::Elements::kObjectsAndTexts)) {
    options.files.push_back(parse_source(*file, where, options.files.size()));
  }
  fields.read("separator", options.separator, "Of documents inside a plain text; without: a file is one");
  fields.read("validation_share", 0.0f, 0.9f, options.validation_share, "Of the documents, chosen by their text");
  fields.read("max_bytes", 1, std::int64_t{1} << 40, options.max_bytes, "Of a file");
  fields.read("tokenizer", options.tokenizer, "A tokenizer.json, or a checkpoint that has one; without: bytes");
  fields.read("end_of_text", options.end_of_text, "The token between documents; without: the tokenizer's own");
  options.vocabulary =
      fields.integer("vocabulary", kByteVocabulary, 1 << 24, "Tokens of a BPE trained on the documents").value_or(0);
  if (!fields.finish()) return options;
  if (options.vocabulary > 0 && !options.tokenizer.empty())
    fields.fail_at("vocabulary", "set, expected nothing beside a tokenizer");
  const auto traces = std::ranges::count_if(options.files, &TextSource::is_trace);
  if (traces > 0 && traces < std::ssize(options.files))
    fields.fail_at("files", "both traces and texts, expected one of them");
  if (traces > 0 && options.tokenizer.empty())
    fields.fail_at("tokenizer", "missing, expected that of the model that the traces are of");
  if (options.tokenizer.empty() && !options.end_of_text.empty())
    fields.fail_at("end_of_text", "set, expected nothing without a tokenizer");
  return options;
}

TokenText read_token_text(const TokenTextOptions& options, std::int64_t length) {
  TokenText text;
  const auto check = [&](const TokenIds& part, const char* name) {
    if (std::ssize(part) > length) return;
    fail(options.files.front().path, std::string("data: ") + name + " text has " + std::to_string(part.size()) +
                                         " tokens, expected more than " + std::to_string(length) + " (batch.length)");
  };
  const bool traces = options.files.front().is_trace();
  const std::vector<Document> documents = traces ? std::vector<Document>() : read_documents(options);
  const std::optional<Tokenizer> tokenizer = choose_tokenizer(options, documents, text);
  if (traces) read_path_text(options, text);
  for (const Document& document : documents) {
    TokenIds& part = document.validates ? text.validation : text.train;
    ++(document.validates ? text.validation_documents : text.train_documents);
    (document.validates ? text.validation_bytes : text.train_bytes) += std::ssize(document.text);
    if (tokenizer) {
      const TokenIds ids = tokenizer->encode_plain(document.text);
      if (tokenizer->add_bos() && tokenizer->bos_id() != text.end_of_text) part.push_back(*tokenizer->bos_id());
      part.insert(part.end(), ids.begin(), ids.end());
    } else {
      for (const char c : document.text) part.push_back(static_cast<unsigned char>(c));
    }
    part.push_back(text.end_of_text);
  }
  check(text.train, "training");
  if (options.validation_share > 0.0f) check(text.validation, "validation");
  return text;
}

TokenBatch draw_batch(const TokenIds& text, std::int64_t sequences, std::int64_t length, std::uint64_t seed,
                      std::int64_t step, const PathLabels& paths) {
  TokenBatch batch = empty_batch(sequences, length, paths);
  Random random(seed ^ Random(static_cast<std::uint64_t>(step)).next());
  const std::uint64_t begins = text.size() - static_cast<std::size_t>(length);
  for (std::int64_t row = 0; row < sequences; ++row) {
    fill(text, paths, static_cast<std::int64_t>(random.next() % begins), length, row, batch);
  }
  return batch;
}

TokenBatch span_batch(const TokenIds& text, std::int64_t first, std::int64_t sequences, std::int64_t length,
                      const PathLabels& paths) {
  std::vector<std::int64_t> numbers(
      static_cast<std::size_t>(std::max<std::int64_t>(0, std::min(sequences, spans_of(text, length) - first))));
  std::iota(numbers.begin(), numbers.end(), first);
  return batch_of_spans(text, numbers, length, paths);
}

TokenBatch batch_of_spans(const TokenIds& text, std::span<const std::int64_t> numbers, std::int64_t length,
                          const PathLabels& paths) {
  TokenBatch batch = empty_batch(std::ssize(numbers), length, paths);
  for (std::int64_t row = 0; row < std::ssize(numbers); ++row)
    fill(text, paths, numbers[static_cast<std::size_t>(row)] * length, length, row, batch);
  return batch;
}

std::int64_t spans_of(const TokenIds& text, std::int64_t length) {
  return (std::ssize(text) - 1) / length;
}

}  // namespace junto
