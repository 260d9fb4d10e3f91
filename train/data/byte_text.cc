#include "train/data/byte_text.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "moe/json_fields.h"

namespace junto {
namespace {

/// FNV-1a, then mixed: which documents validate does not change when others come or go.
double share_of(std::string_view document) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : document) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return Random(hash).uniform();
}

void fill(const std::vector<std::int16_t>& text, std::int64_t begin, std::int64_t length, std::int64_t row,
          TokenBatch& batch) {
  std::int64_t* inputs = batch.inputs.data_ptr<std::int64_t>() + row * length;
  std::int64_t* targets = batch.targets.data_ptr<std::int64_t>() + row * length;
  for (std::int64_t i = 0; i < length; ++i) {
    inputs[i] = text[begin + i];
    targets[i] = text[begin + i + 1];
  }
}

TokenBatch empty_batch(std::int64_t sequences, std::int64_t length) {
  return {at::empty({sequences, length}, at::kLong), at::empty({sequences, length}, at::kLong)};
}

}  // namespace

ByteTextOptions parse_byte_text(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "data");
  ByteTextOptions options;
  if (const Json* files = fields.any("files")) {
    if (!files->is_array()) fields.fail_at("files", quoted(*files) + ", expected a list of file names");
    for (const Json& file : *files) {
      if (!file.is_string()) fields.fail_at("files", quoted(*files) + ", expected a list of file names");
      options.files.push_back(file.get<std::string>());
    }
  }
  if (options.files.empty()) fields.fail_at("files", "empty, expected a list of text files");
  if (const Json* separator = fields.any("separator")) {
    if (!separator->is_string()) fields.fail_at("separator", quoted(*separator) + ", expected a text");
    options.separator = separator->get<std::string>();
  }
  options.validation_share = fields.number("validation_share", 0.0f, 0.9f).value_or(options.validation_share);
  options.max_bytes = fields.integer("max_bytes", 1, std::int64_t{1} << 40).value_or(options.max_bytes);
  fields.finish();
  return options;
}

ByteText read_byte_text(const ByteTextOptions& options, std::int64_t length) {
  ByteText text;
  const auto add = [&](std::string_view document) {
    if (document.empty()) return;
    const bool validates = share_of(document) < static_cast<double>(options.validation_share);
    std::vector<std::int16_t>& part = validates ? text.validation : text.train;
    ++(validates ? text.validation_documents : text.train_documents);
    for (const char c : document) part.push_back(static_cast<unsigned char>(c));
    part.push_back(kEndOfText);
  };
  for (const std::string& file : options.files) {
    const std::string whole = read_text_file(file, static_cast<std::size_t>(options.max_bytes));
    std::string_view rest = whole;
    while (!options.separator.empty()) {
      const std::size_t end = rest.find(options.separator);
      if (end == std::string_view::npos) break;
      add(rest.substr(0, end));
      rest.remove_prefix(end + options.separator.size());
    }
    add(rest);
  }
  const auto check = [&](const std::vector<std::int16_t>& part, const char* name) {
    if (static_cast<std::int64_t>(part.size()) > length) return;
    fail(options.files.front(), std::string("data: ") + name + " text has " + std::to_string(part.size()) +
                                    " tokens, expected more than " + std::to_string(length) + " (batch.length)");
  };
  check(text.train, "training");
  if (options.validation_share > 0.0f) check(text.validation, "validation");
  return text;
}

TokenBatch draw_batch(const std::vector<std::int16_t>& text, std::int64_t sequences, std::int64_t length,
                      std::uint64_t seed, std::int64_t step) {
  TokenBatch batch = empty_batch(sequences, length);
  Random random(seed ^ Random(static_cast<std::uint64_t>(step)).next());
  const std::uint64_t begins = text.size() - static_cast<std::size_t>(length);
  for (std::int64_t row = 0; row < sequences; ++row) {
    fill(text, static_cast<std::int64_t>(random.next() % begins), length, row, batch);
  }
  return batch;
}

TokenBatch span_batch(const std::vector<std::int16_t>& text, std::int64_t first, std::int64_t sequences,
                      std::int64_t length) {
  const std::int64_t spans = (static_cast<std::int64_t>(text.size()) - 1) / length;
  sequences = std::max<std::int64_t>(0, std::min(sequences, spans - first));
  TokenBatch batch = empty_batch(sequences, length);
  for (std::int64_t row = 0; row < sequences; ++row) fill(text, (first + row) * length, length, row, batch);
  return batch;
}

}  // namespace junto
