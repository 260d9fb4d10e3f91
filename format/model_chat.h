// The chat templates that come with a model, and the tokens that they print.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "format/chat_template.h"
#include "format/checkpoint.h"

namespace junto {

struct ModelChat {
  std::map<std::string, ChatTemplate> templates;    // by name; a single one is "default"
  std::optional<std::string> bos_token, eos_token;  // as text

  /// "tool_use" where there are tools and the model has a template for them, else "default". Throws Error where there
  /// is neither.
  const ChatTemplate& choose(bool with_tools) const;
};

/// Reads them from chat_template.jinja, tokenizer_config.json (one template, or a list of {name, template}) or GGUF
/// metadata (tokenizer.chat_template, tokenizer.chat_template.<name>). Nothing where the model has none. Throws Error
/// for a template that does not parse.
std::optional<ModelChat> load_model_chat(const Checkpoint& checkpoint);

}  // namespace junto
