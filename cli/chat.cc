#include "cli/chat.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "format/chat_prompt.h"

namespace junto {
namespace {

constexpr const char* kChatState = "chat";

ModelChat chat_of(const Session& session) {
  std::optional<ModelChat> found = load_model_chat(session.checkpoint);
  if (!found) fail(session.checkpoint.path, "no chat template; junto run --raw continues plain text");
  return *std::move(found);
}

bool is_role(const OrderedJson& message, const char* role) {
  return message.value("role", "") == role;
}

/// What save() wrote: a list of {"role", "content"}, both texts.
OrderedJson parse_messages(const std::vector<std::byte>& bytes, const std::string& path) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  OrderedJson messages = parse_ordered_json(text, path + ": messages");
  if (!messages.is_array()) fail(path, "messages are no list");
  for (const OrderedJson& message : messages) {
    const bool good = message.is_object() && message.contains("role") && message["role"].is_string() &&
                      message.contains("content") && message["content"].is_string();
    if (!good) fail(path, "a message has no role and content");
  }
  return messages;
}

}  // namespace

Conversation::Conversation(Session& session, GenerateOptions options, ContextLimit context)
    : session_(session),
      options_(std::move(options)),
      context_(context),
      chat_(chat_of(session)),
      sequence_(new_sequence(session)) {
  require_tokenizer(session);
}

Generated Conversation::ask(const std::string& text) {
  messages_.push_back({{"role", "user"}, {"content", text}});
  try {
    const std::vector<std::int32_t> prompt = encode_chat(chat_, require_tokenizer(session_), messages_);
    check_prompt_fits(static_cast<std::int64_t>(prompt.size()), context_.tokens, "conversation");
    // At least one token is fed: the answer begins with its logits.
    std::size_t known = common_prefix(sequence_.tokens, prompt);
    if (known > 0 && known == prompt.size()) --known;
    truncate(sequence_, static_cast<std::int64_t>(known));
    const std::span<const std::int32_t> rest = std::span(prompt).subspan(known);
    Generated answer = generate(*session_.decoder, &require_tokenizer(session_), sequence_, rest, options_);
    messages_.push_back({{"role", "assistant"}, {"content", answer.text}});
    used_ = sequence_.length() + (answer.ids.empty() ? 0 : 1);
    return answer;
  } catch (...) {
    messages_.erase(messages_.size() - 1);
    throw;
  }
}

void Conversation::reset() {
  const bool system = !messages_.empty() && is_role(messages_[0], "system");
  messages_ = system ? OrderedJson::array({messages_[0]}) : OrderedJson::array();
  used_ = 0;
  truncate(sequence_, 0);
}

bool Conversation::undo() {
  if (messages_.empty() || !is_role(messages_.back(), "assistant")) return false;
  messages_.erase(messages_.size() - 1);
  messages_.erase(messages_.size() - 1);
  return true;
}

void Conversation::set_system(const std::string& text) {
  if (!messages_.empty() && is_role(messages_[0], "system")) messages_.erase(std::size_t{0});
  if (!text.empty()) messages_.insert(messages_.begin(), OrderedJson{{"role", "system"}, {"content", text}});
}

void Conversation::save(const std::string& path) {
  const std::string text = messages_.dump();
  const auto bytes = std::as_bytes(std::span(text));
  sequence_.states[kChatState].assign(bytes.begin(), bytes.end());
  AtomicFile file(path);
  file.write(save_sequence(sequence_, session_.decoder->kv_layout(), session_.model->fingerprint));
  file.commit();
}

void Conversation::load(const std::string& path) {
  const MappedFile file(path);
  Sequence restored = restore_sequence(file.bytes(), session_.decoder->kv_layout(), session_.model->fingerprint, path);
  const auto state = restored.states.find(kChatState);
  if (state == restored.states.end()) fail(path, "holds a sequence, expected a saved conversation");
  OrderedJson messages = parse_messages(state->second, path);
  check_prompt_fits(restored.length(), context_.tokens, path);
  messages_ = std::move(messages);
  sequence_ = std::move(restored);
  used_ = sequence_.length();
}

std::size_t common_prefix(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace junto
