#include "compress/tokenizer_keys.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/file.h"
#include "format/tokenizer.h"

namespace junto {
namespace {

constexpr std::size_t kMaxTokenizerBytes = std::size_t{256} << 20;

const Json& member(const Json& object, const char* name) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto found = object.find(name);
  return found == object.end() ? null : *found;
}

// An id that the model's configuration names (the first of several), where the tokenizer names none.
std::optional<std::int32_t> id_or(std::optional<std::int32_t> id, const Json& config, const char* key,
                                  std::int64_t vocab_size) {
  Json named = member(config, key);
  if (named.is_array() && !named.empty()) named = named.front();
  if (id || !named.is_number_integer()) return id;
  const auto value = named.get<std::int64_t>();
  return value >= 0 && value < vocab_size ? std::optional(static_cast<std::int32_t>(value)) : id;
}

// generation_config.json may name several ids that end an answer: GGUF has room for three.
void add_ends(const Json& generation_config, std::int64_t vocab_size, GgufTokenizerData& data) {
  for (const Json& id : member(generation_config, "eos_token_id")) {
    if (!id.is_number_integer()) continue;
    const auto value = id.get<std::int64_t>();
    if (value < 0 || value >= vocab_size) continue;
    const auto end = static_cast<std::int32_t>(value);
    if (!data.eos_id) data.eos_id = end;
    if (end == data.eos_id || end == data.eot_id) continue;
    std::optional<std::int32_t>& slot = data.eot_id ? data.eom_id : data.eot_id;
    if (!slot) slot = end;
  }
}

void add_chat_template(const Checkpoint& checkpoint, Metadata& metadata) {
  if (!checkpoint.chat_template_file.empty()) {
    metadata.set("tokenizer.chat_template", checkpoint.chat_template_file);
    return;
  }
  const Json& templates = member(checkpoint.tokenizer_config, "chat_template");
  if (templates.is_string()) metadata.set("tokenizer.chat_template", templates.get<std::string>());
  std::vector<std::string> names;
  for (const Json& entry : templates.is_array() ? templates : Json::array()) {
    const Json& name = member(entry, "name");
    const Json& text = member(entry, "template");
    if (!name.is_string() || !text.is_string()) continue;
    const bool plain = name == "default";
    if (!plain) names.push_back(name.get<std::string>());
    metadata.set(plain ? "tokenizer.chat_template" : "tokenizer.chat_template." + names.back(),
                 text.get<std::string>());
  }
  if (!names.empty()) metadata.set("tokenizer.chat_templates", names);
}

}  // namespace

std::string add_tokenizer_keys(const Checkpoint& checkpoint, std::int64_t vocab_size, Metadata& metadata) {
  add_chat_template(checkpoint, metadata);
  const std::string& path = checkpoint.tokenizer_json_path;
  if (path.empty()) return "no tokenizer.json: the file has no tokenizer";
  const std::string text = read_text_file(path, kMaxTokenizerBytes);
  const Tokenizer tokenizer = load_tokenizer_json(text, path, checkpoint.tokenizer_config);
  GgufTokenizerData data = gguf_tokenizer_data(tokenizer, vocab_size, text);
  data.bos_id = id_or(data.bos_id, checkpoint.config, "bos_token_id", vocab_size);
  data.eos_id = id_or(data.eos_id, checkpoint.config, "eos_token_id", vocab_size);
  data.pad_id = id_or(data.pad_id, checkpoint.config, "pad_token_id", vocab_size);
  add_ends(checkpoint.generation_config, vocab_size, data);
  store_tokenizer(data, metadata);
  if (data.huggingface_json.empty()) return {};
  return "GGUF has no name for this tokenizer: its tokenizer.json goes with the model, and other programs refuse it";
}

void add_sampling_keys(const Checkpoint& checkpoint, Metadata& metadata) {
  static constexpr std::pair<const char*, const char*> kNumbers[] = {
      {"temperature", "general.sampling.temp"},
      {"top_p", "general.sampling.top_p"},
      {"min_p", "general.sampling.min_p"},
      {"repetition_penalty", "general.sampling.penalty_repeat"},
  };
  for (const auto& [option, key] : kNumbers) {
    const Json& value = member(checkpoint.generation_config, option);
    if (value.is_number()) metadata.set(key, value.get<float>());
  }
  const Json& top_k = member(checkpoint.generation_config, "top_k");
  if (top_k.is_number_integer()) metadata.set("general.sampling.top_k", top_k.get<std::int32_t>());
}

}  // namespace junto
