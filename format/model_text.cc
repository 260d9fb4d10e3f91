#include "format/model_text.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace junto {
namespace {

constexpr std::size_t kMaxTokenizerBytes = std::size_t{256} << 20;

bool is_gguf(const Checkpoint& checkpoint) {
  return checkpoint.kind == Checkpoint::Kind::kGguf;
}

/// "eos_token_id": 2 or [2, 7].
void add_ids(const Json& config, std::set<std::int32_t>& ids) {
  if (!config.is_object() || !config.contains("eos_token_id")) return;
  const Json& value = config["eos_token_id"];
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (id.is_number_integer() && id >= 0 && id <= INT32_MAX) ids.insert(id.get<std::int32_t>());
  }
}

}  // namespace

std::optional<Tokenizer> load_tokenizer(const Checkpoint& checkpoint) {
  if (is_gguf(checkpoint)) {
    if (!checkpoint.metadata.contains("tokenizer.ggml.model")) return std::nullopt;
    return load_tokenizer_gguf(checkpoint.metadata);
  }
  if (checkpoint.tokenizer_json_path.empty()) return std::nullopt;
  const std::string text = read_text_file(checkpoint.tokenizer_json_path, kMaxTokenizerBytes);
  return load_tokenizer_json(text, checkpoint.tokenizer_json_path, checkpoint.tokenizer_config);
}

std::string tokenizer_kind(const Checkpoint& checkpoint) {
  if (is_gguf(checkpoint)) return checkpoint.metadata.string("tokenizer.ggml.model").value_or("");
  if (checkpoint.tokenizer_json_path.empty()) return "";
  const std::string& path = checkpoint.tokenizer_json_path;
  const Json json = parse_json(read_text_file(path, kMaxTokenizerBytes), path);
  const Json model = json.is_object() ? json.value("model", Json::object()) : Json();
  // Older files leave the type out; BPE ones have merges.
  if (model.is_object() && model.contains("type") && model["type"].is_string()) return model["type"].get<std::string>();
  return model.is_object() && model.contains("merges") ? "BPE" : "unknown";
}

std::vector<std::int32_t> end_of_generation(const Checkpoint& checkpoint, const Tokenizer* tokenizer) {
  std::set<std::int32_t> ids;
  if (tokenizer != nullptr) ids.insert(tokenizer->end_of_generation().begin(), tokenizer->end_of_generation().end());
  add_ids(checkpoint.generation_config, ids);
  add_ids(checkpoint.config, ids);
  return {ids.begin(), ids.end()};
}

}  // namespace junto
