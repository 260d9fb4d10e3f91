// A conversation: messages, the sequence that holds their computed rows, and what may be done with both.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "cli/session.h"
#include "format/model_chat.h"
#include "generate/generate.h"

namespace junto {

class Conversation {
 public:
  /// `session` must outlive this and have a decoder. Throws Error where the model has no tokenizer or chat template.
  Conversation(Session& session, GenerateOptions options, ContextLimit context);

  /// One exchange. The template is rendered anew and only what differs from the computed rows is fed. Throws Error
  /// where the conversation does not fit the context (it stays as it was before).
  Generated ask(const std::string& text);

  /// Forgets all but the system message.
  void reset();
  /// Forgets the last exchange; false where there is none.
  bool undo();
  /// Replaces the system message; empty: none. Its rows are computed anew with the next question.
  void set_system(const std::string& text);
  /// Routing from the next token on.
  void set_policy(const RoutingPolicy& policy) { sequence_.policy = policy; }

  /// Messages, computed rows and the sampler's state. load() takes files of the same model and KV type only.
  void save(const std::string& path);
  void load(const std::string& path);

  const OrderedJson& messages() const { return messages_; }
  const ContextLimit& context() const { return context_; }
  /// Tokens of the conversation so far.
  std::int64_t used_tokens() const { return used_; }

 private:
  Session& session_;
  GenerateOptions options_;
  ContextLimit context_;
  ModelChat chat_;
  Sequence sequence_;
  OrderedJson messages_ = OrderedJson::array();
  std::int64_t used_ = 0;
};

/// Length of what both have in common at their beginning.
std::size_t common_prefix(std::span<const std::int32_t> a, std::span<const std::int32_t> b);

}  // namespace junto
