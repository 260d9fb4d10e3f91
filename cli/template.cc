#include "cli/template.h"

#include <filesystem>
#include <functional>
#include <istream>
#include <ostream>

#include "base/error.h"
#include "base/file.h"
#include "format/model_chat.h"

namespace junto {
namespace {

constexpr std::size_t kMaxTemplateBytes = 16 << 20;

// A regular file is a template unless it is named as a model.
bool is_template_file(const std::filesystem::path& path) {
  return std::filesystem::is_regular_file(path) && path.extension() != ".gguf";
}

ModelChat load(const std::string& source) {
  ModelChat chat;
  if (is_template_file(source)) {
    chat.templates.emplace("default", ChatTemplate::parse(read_text_file(source, kMaxTemplateBytes), source));
    return chat;
  }
  std::optional<ModelChat> found = load_model_chat(open_checkpoint(source));
  if (!found) fail(source, "the model has no chat template");
  return std::move(*found);
}

void read_token(const OrderedJson& line, const char* key, std::optional<std::string>& token) {
  const auto found = line.find(key);
  if (found == line.end()) return;
  if (!found->is_string() && !found->is_null()) fail(key, "expected a string");
  token = found->is_null() ? std::nullopt : std::optional(found->get<std::string>());
}

ChatInput read_input(const OrderedJson& line, const ModelChat& chat) {
  if (!line.is_object()) fail("input", "expected a JSON object a line");
  ChatInput input;
  input.bos_token = chat.bos_token;
  input.eos_token = chat.eos_token;
  for (const auto& [key, value] : line.items()) {
    if (key == "messages") {
      input.messages = value;
    } else if (key == "tools") {
      input.tools = value;
    } else if (key == "documents") {
      input.documents = value;
    } else if (key == "add_generation_prompt") {
      if (!value.is_boolean()) fail(key, "expected true or false");
      input.add_generation_prompt = value.get<bool>();
    } else if (key != "bos_token" && key != "eos_token") {
      input.extra[key] = value;
    }
  }
  read_token(line, "bos_token", input.bos_token);
  read_token(line, "eos_token", input.eos_token);
  return input;
}

}  // namespace

int run_template(const TemplateOptions& options, std::istream& in, std::ostream& out) {
  if (!std::filesystem::exists(options.source)) fail(options.source, "no such file or directory");
  ModelChat chat;
  std::string template_error;
  try {
    chat = load(options.source);
  } catch (const Error& error) {
    // A template that does not parse answers every line; what is no template at all ends the program.
    if (!is_template_file(options.source)) throw;
    template_error = error.what();
  }
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    OrderedJson answer;
    try {
      if (!template_error.empty()) throw Error(template_error);
      const ChatInput input = read_input(parse_ordered_json(line, "line " + std::to_string(number)), chat);
      answer["rendered"] = render_chat(chat.choose(!input.tools.is_null()), input);
    } catch (const Error& error) {
      answer = OrderedJson{{"error", error.what()}};
    }
    out << answer.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) << '\n' << std::flush;
  }
  return 0;
}

}  // namespace junto
