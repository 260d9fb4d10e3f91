// Chat templates: the Jinja program inside a checkpoint that turns a conversation into the text the model was trained
// on. Rendered as transformers' apply_chat_template renders them (ImmutableSandboxedEnvironment, trim_blocks,
// lstrip_blocks, loop controls, tojson without HTML escaping, raise_exception, strftime_now, {% generation %}).
//
// Beyond that dialect: integers are 64 bits wide (a larger one is an error, not a big number); extends, include,
// import, block, autoescape and the filters filesizeformat, pprint, random, striptags, urlize, wordwrap and xmlattr are
// refused by name.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "format/jinja/options.h"

namespace junto {

namespace jinja {
struct Template;
}

class ChatTemplate {
 public:
  /// Throws Error "name:line: reason".
  static ChatTemplate parse(std::string_view source, std::string_view name);

  /// The text that the template makes of `variables` (an object). Throws Error "name:line: reason": what the template
  /// raises, what Python would raise, or a bound of `options` that is passed. Safe to call from several threads.
  std::string render(const OrderedJson& variables, const jinja::RenderOptions& options = {}) const;

 private:
  std::shared_ptr<const jinja::Template> template_;
};

/// What apply_chat_template takes.
struct ChatInput {
  OrderedJson messages = OrderedJson::array();
  OrderedJson tools;      // null: none
  OrderedJson documents;  // null: none
  bool add_generation_prompt = false;
  std::optional<std::string> bos_token, eos_token;  // undefined in the template where not set
  OrderedJson extra = OrderedJson::object();        // other variables: enable_thinking...
  // Leave out entries of messages that are null, such as the `content` of a message that only calls tools: as
  // transformers does from 5.24 on. The oracles are of 5.23, which hands them to the template as None.
  bool drop_null_entries = false;
};

/// The variables that a template sees. As in transformers, a message's reasoning is offered under both names that
/// templates read, `reasoning_content` and `thinking`. Throws Error if `messages` is no list of objects.
OrderedJson chat_variables(const ChatInput& input);

std::string render_chat(const ChatTemplate& chat_template, const ChatInput& input,
                        const jinja::RenderOptions& options = {});

}  // namespace junto
