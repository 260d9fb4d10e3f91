#include "format/chat_prompt.h"

namespace junto {

std::vector<std::int32_t> encode_chat(const ModelChat& chat, const Tokenizer& tokenizer, const OrderedJson& messages) {
  ChatInput input;
  input.messages = messages;
  input.add_generation_prompt = true;
  input.bos_token = chat.bos_token;
  input.eos_token = chat.eos_token;
  return tokenizer.encode(render_chat(chat.choose(false), input), false);
}

}  // namespace junto
