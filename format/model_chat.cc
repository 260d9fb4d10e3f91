#include "format/model_chat.h"

#include "base/error.h"

namespace junto {
namespace {

constexpr std::string_view kGgufKey = "tokenizer.chat_template";

void add(ModelChat& chat, const std::string& name, const std::string& source, const std::string& where) {
  chat.templates.insert_or_assign(name, ChatTemplate::parse(source, where));
}

void read_gguf(const Metadata& metadata, ModelChat& chat) {
  for (const auto& [key, value] : metadata.entries()) {
    if (key == kGgufKey) {
      add(chat, "default", metadata.required_string(key), metadata.file() + ": " + key);
    } else if (key.starts_with(std::string(kGgufKey) + ".")) {
      add(chat, key.substr(kGgufKey.size() + 1), metadata.required_string(key), metadata.file() + ": " + key);
    }
  }
  const std::vector<std::string>& tokens = metadata.strings("tokenizer.ggml.tokens");
  const auto token = [&](const char* key) -> std::optional<std::string> {
    const auto id = metadata.integer(key);
    if (!id || *id < 0 || static_cast<std::size_t>(*id) >= tokens.size()) return std::nullopt;
    return tokens[static_cast<std::size_t>(*id)];
  };
  chat.bos_token = token("tokenizer.ggml.bos_token_id");
  chat.eos_token = token("tokenizer.ggml.eos_token_id");
}

// A token is a string, or an object with the string as its `content`.
std::optional<std::string> token_text(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  const auto content = found->is_object() ? found->find("content") : found->end();
  if (!found->is_object() || content == found->end() || !content->is_string()) return std::nullopt;
  return content->get<std::string>();
}

void read_tokenizer_config(const Json& config, const std::string& where, ModelChat& chat) {
  chat.bos_token = token_text(config, "bos_token");
  chat.eos_token = token_text(config, "eos_token");
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return;
  if (found->is_string()) return add(chat, "default", found->get<std::string>(), where + ": chat_template");
  if (!found->is_array()) fail(where, "chat_template is neither a string nor a list of {name, template}");
  for (const Json& entry : *found) {
    const bool valid = entry.is_object() && entry.contains("name") && entry["name"].is_string() &&
                       entry.contains("template") && entry["template"].is_string();
    if (!valid) fail(where, "chat_template is a list with an entry other than {name, template}, both strings");
    const auto name = entry["name"].get<std::string>();
    add(chat, name, entry["template"].get<std::string>(), where + ": chat_template " + printable(name, 40));
  }
}

}  // namespace

const ChatTemplate& ModelChat::choose(bool with_tools) const {
  const auto tool_use = templates.find("tool_use");
  if (with_tools && tool_use != templates.end()) return tool_use->second;
  const auto standard = templates.find("default");
  if (standard != templates.end()) return standard->second;
  std::string names;
  for (const auto& [name, value] : templates) names += (names.empty() ? "" : ", ") + printable(name, 40);
  fail("chat template", "the model has none named \"default\", only " + (names.empty() ? "none at all" : names));
}

std::optional<ModelChat> load_model_chat(const Checkpoint& checkpoint) {
  ModelChat chat;
  if (checkpoint.kind == Checkpoint::Kind::kGguf) {
    read_gguf(checkpoint.metadata, chat);
  } else {
    if (checkpoint.tokenizer_config.is_object()) {
      read_tokenizer_config(checkpoint.tokenizer_config, checkpoint.path + "/tokenizer_config.json", chat);
    }
    if (!checkpoint.chat_template_file.empty()) {
      add(chat, "default", checkpoint.chat_template_file, checkpoint.path + "/chat_template.jinja");
    }
  }
  if (chat.templates.empty()) return std::nullopt;
  return chat;
}

}  // namespace junto
