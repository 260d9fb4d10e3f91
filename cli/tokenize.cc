#include "cli/tokenize.h"

#include <filesystem>
#include <istream>
#include <iterator>
#include <ostream>

#include "base/error.h"
#include "base/file.h"
#include "format/checkpoint.h"

namespace junto {
namespace {

constexpr std::string_view kInput = "standard input";
constexpr std::size_t kMaxTokenizerBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxConfigBytes = std::size_t{64} << 20;

Json config_in(const std::filesystem::path& directory) {
  const std::string file = (directory / "tokenizer_config.json").string();
  if (!std::filesystem::exists(file)) return nullptr;
  return parse_json(read_text_file(file, kMaxConfigBytes), file);
}

std::vector<std::int32_t> ids_in(const Json& json, const std::string& place) {
  const auto refuse = [&](const std::string& found) {
    fail(kInput, place + "is " + found + ", expected an array of token ids");
  };
  if (!json.is_array()) refuse(printable(json.dump()));
  std::vector<std::int32_t> ids;
  for (const Json& id : json) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) refuse("an array with " + printable(id.dump()));
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

std::string written(const std::vector<std::int32_t>& ids) {
  return Json(ids).dump();
}

// One line of --jsonl.
std::string answer(const TokenizeOptions& options, const Tokenizer& tokenizer, const Json& json,
                   const std::string& place) {
  if (options.decode) return Json(tokenizer.decode(ids_in(json, place), false)).dump();
  if (!json.is_string()) fail(kInput, place + "is " + printable(json.dump()) + ", expected a JSON string");
  return written(tokenizer.encode(json.get_ref<const std::string&>(), options.special));
}

void run_lines(const TokenizeOptions& options, const Tokenizer& tokenizer, std::istream& in, std::ostream& out) {
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const std::string place = "line " + std::to_string(number) + " ";
    Json json;
    try {
      json = parse_json(line, kInput);
    } catch (const Error& error) {
      const std::string_view what = error.what();
      out.flush();
      fail(kInput, place + std::string(what.substr(what.find(": ") + 2)));
    }
    out << answer(options, tokenizer, json, place) << '\n';
  }
}

}  // namespace

Tokenizer open_tokenizer(const std::string& path) {
  namespace fs = std::filesystem;
  if (path.ends_with(".json") && !fs::is_directory(path)) {
    return load_tokenizer_json(read_text_file(path, kMaxTokenizerBytes), path);
  }
  const fs::path in_directory = fs::path(path) / "tokenizer.json";
  if (fs::is_directory(path) && fs::exists(in_directory)) {
    const std::string file = in_directory.string();
    return load_tokenizer_json(read_text_file(file, kMaxTokenizerBytes), file, config_in(path));
  }
  const Checkpoint checkpoint = open_checkpoint(path);
  if (checkpoint.kind != Checkpoint::Kind::kGguf) fail(path, "has no tokenizer.json");
  return load_tokenizer_gguf(checkpoint.metadata);
}

int run_tokenize(const TokenizeOptions& options, const Tokenizer& tokenizer, std::istream& in, std::ostream& out) {
  if (options.jsonl) {
    run_lines(options, tokenizer, in, out);
  } else {
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (options.decode) {
      out << tokenizer.decode(ids_in(parse_json(text, kInput), ""), false);
    } else {
      out << written(tokenizer.encode(text, options.special)) << '\n';
    }
  }
  out.flush();
  if (!out) fail("standard output", "cannot be written");
  return 0;
}

int run_tokenize(const TokenizeOptions& options, std::istream& in, std::ostream& out) {
  return run_tokenize(options, open_tokenizer(options.path), in, out);
}

}  // namespace junto
