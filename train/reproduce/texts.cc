#include "train/reproduce/texts.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/random.h"
#include "base/sha256.h"
#include "train/data/path_text.h"

namespace junto {
namespace {

/// FNV-1a of the tokens, mixed: another stream than that which chose the documents for validation.
bool goes_first(const std::int32_t* begin, const std::int32_t* end) {
  std::uint64_t hash = 0x84222325cbf29ce4ull;
  for (; begin != end; ++begin) hash = (hash ^ static_cast<std::uint32_t>(*begin)) * 0x100000001b3ull;
  return Random(hash).uniform() < 0.5;
}

std::int64_t documents_in(const TokenIds& text, std::int32_t end_of_text) {
  return std::count(text.begin(), text.end(), end_of_text);
}

DomainText read_domain(const Experiment& experiment, const TextFile& file, bool held_out, const std::string& folder,
                       std::int64_t length) {
  DomainText text{.domain = file.domain, .file = file.path, .path = folder + "/" + file.path};
  text.held_out = held_out;
  if (!std::filesystem::exists(text.path)) {
    fail(text.path, "is missing" + (experiment.fetch.empty() ? "" : ": run " + experiment.fetch));
  }
  text.sha256 = sha256_of_file(text.path);
  Json options = experiment.recipe.value("data", Json::object());
  options["files"] = {text.path};
  if (held_out) options["validation_share"] = 0.0;
  const TokenTextOptions what = parse_token_text(options, experiment.slug);
  TokenText read = read_token_text(what, length);
  text.end_of_text = read.end_of_text;
  const bool tokens_are_bytes = what.tokenizer.empty() && what.vocabulary == 0;
  if (!tokens_are_bytes && !read.validation.empty())
    text.bytes_per_token = static_cast<double>(read.validation_bytes) / static_cast<double>(read.validation.size());
  const bool paths = !read.train_paths.empty();
  if (held_out) {
    if (!paths) fail(text.path, "is held_out and no trace, expected texts to test alone with traces");
    text.test = std::move(read.train), text.test_paths = std::move(read.train_paths);
    text.test_documents = read.train_documents;
    return text;
  }
  if (paths) {
    split_path_documents(read, false, text.tune, text.tune_paths);
    split_path_documents(read, true, text.test, text.test_paths);
    text.test_documents = read.validation_documents / 2;
    text.tune_documents = read.validation_documents - text.test_documents;
  } else {
    split_documents(read.validation, read.end_of_text, text.tune, text.test);
    text.tune_documents = documents_in(text.tune, read.end_of_text);
    text.test_documents = documents_in(text.test, read.end_of_text);
  }
  for (const auto* part : {&text.tune, &text.test}) {
    if (static_cast<std::int64_t>(part->size()) > length) continue;
    fail(text.path, std::string("data: its text to ") + (part == &text.tune ? "tune" : "test") + " has " +
                        std::to_string(part->size()) + " tokens, expected more than " + std::to_string(length) +
                        " (batch.length): raise data.validation_share");
  }
  return text;
}

}  // namespace

void split_documents(const TokenIds& text, std::int32_t end_of_text, TokenIds& first, TokenIds& second) {
  for (std::size_t begin = 0; begin < text.size();) {
    const auto found = std::find(text.begin() + static_cast<std::ptrdiff_t>(begin), text.end(), end_of_text);
    const auto end = static_cast<std::size_t>(found - text.begin());
    TokenIds& part = goes_first(text.data() + begin, text.data() + end) ? first : second;
    part.insert(part.end(), text.data() + begin, text.data() + end);
    part.push_back(end_of_text);
    begin = end + 1;
  }
}

bool are_traces(const std::vector<DomainText>& texts) {
  return !texts.empty() && !texts.front().test_paths.empty();
}

std::vector<DomainText> read_texts(const Experiment& experiment, const std::string& folder, std::int64_t length) {
  std::vector<DomainText> out;
  for (const TextFile& file : experiment.texts) out.push_back(read_domain(experiment, file, false, folder, length));
  for (const TextFile& file : experiment.held_out) out.push_back(read_domain(experiment, file, true, folder, length));
  return out;
}

}  // namespace junto
