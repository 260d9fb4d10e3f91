#include "format/chat_template.h"

#include "base/error.h"
#include "format/jinja/parser.h"
#include "format/jinja/renderer.h"

namespace junto {
namespace {

OrderedJson without_nulls(const OrderedJson& message) {
  OrderedJson out = OrderedJson::object();
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) out[key] = value;
  }
  return out;
}

OrderedJson with_reasoning_names(const OrderedJson& message) {
  const OrderedJson* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const auto found = message.find(name);
    if (found == message.end() || found->is_null()) continue;
    reasoning = &*found;
    break;
  }
  if (!reasoning) return message;
  OrderedJson out = OrderedJson::object();
  out["thinking"] = *reasoning;
  for (const auto& [key, value] : message.items()) out[key] = value;
  out["reasoning_content"] = *reasoning;
  return out;
}

}  // namespace

ChatTemplate ChatTemplate::parse(std::string_view source, std::string_view name) {
  ChatTemplate result;
  result.template_ = std::make_shared<const jinja::Template>(jinja::parse_template(source, name));
  return result;
}

std::string ChatTemplate::render(const OrderedJson& variables, const jinja::RenderOptions& options) const {
  if (!variables.is_object()) fail(template_->name, "the variables are not a JSON object");
  return jinja::Renderer(*template_, options).render(variables);
}

OrderedJson chat_variables(const ChatInput& input) {
  if (!input.messages.is_array()) fail("messages", "expected a list of objects");
  OrderedJson messages = OrderedJson::array();
  for (const OrderedJson& message : input.messages) {
    if (!message.is_object()) fail("messages", "expected a list of objects, found " + printable(message.dump()));
    messages.push_back(with_reasoning_names(input.drop_null_entries ? without_nulls(message) : message));
  }
  OrderedJson variables = OrderedJson::object();
  if (input.bos_token) variables["bos_token"] = *input.bos_token;
  if (input.eos_token) variables["eos_token"] = *input.eos_token;
  if (input.extra.is_object()) variables.update(input.extra);
  variables["messages"] = std::move(messages);
  variables["tools"] = input.tools;
  variables["documents"] = input.documents;
  variables["add_generation_prompt"] = input.add_generation_prompt;
  return variables;
}

std::string render_chat(const ChatTemplate& chat_template, const ChatInput& input,
                        const jinja::RenderOptions& options) {
  return chat_template.render(chat_variables(input), options);
}

}  // namespace junto
