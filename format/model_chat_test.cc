#include "format/model_chat.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

Checkpoint huggingface(const char* tokenizer_config) {
  Checkpoint checkpoint;
  checkpoint.kind = Checkpoint::Kind::kHuggingFace;
  checkpoint.path = "model";
  checkpoint.tokenizer_config = Json::parse(tokenizer_config);
  return checkpoint;
}

std::string text_of(const ChatTemplate& chat_template) {
  return chat_template.render(OrderedJson::object());
}

TEST(ModelChat, ReadsOneTemplateAndTheTokens) {
  const auto chat = load_model_chat(huggingface(
      R"({"chat_template": "one", "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>"})"));
  ASSERT_TRUE(chat);
  EXPECT_EQ(text_of(chat->choose(false)), "one");
  EXPECT_EQ(text_of(chat->choose(true)), "one");
  EXPECT_EQ(chat->bos_token, "<s>");
  EXPECT_EQ(chat->eos_token, "</s>");
}

TEST(ModelChat, ChoosesAmongNamedTemplates) {
  const auto chat = load_model_chat(huggingface(
      R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]})"));
  ASSERT_TRUE(chat);
  EXPECT_EQ(text_of(chat->choose(false)), "d");
  EXPECT_EQ(text_of(chat->choose(true)), "t");
  EXPECT_FALSE(chat->bos_token);
  const auto only_rag = load_model_chat(huggingface(R"({"chat_template": [{"name": "rag", "template": "r"}]})"));
  EXPECT_THROW(only_rag->choose(false), Error);
}

TEST(ModelChat, TheFileBesideTheModelWins) {
  Checkpoint checkpoint = huggingface(R"({"chat_template": "old"})");
  checkpoint.chat_template_file = "new";
  EXPECT_EQ(text_of(load_model_chat(checkpoint)->choose(false)), "new");
}

TEST(ModelChat, ReadsGgufMetadata) {
  Checkpoint checkpoint;
  checkpoint.metadata = Metadata("m.gguf");
  EXPECT_FALSE(load_model_chat(checkpoint));
  checkpoint.metadata.set("tokenizer.chat_template", std::string("d"));
  checkpoint.metadata.set("tokenizer.chat_template.tool_use", std::string("t"));
  checkpoint.metadata.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "<s>", "</s>"});
  checkpoint.metadata.set("tokenizer.ggml.bos_token_id", std::uint32_t{1});
  checkpoint.metadata.set("tokenizer.ggml.eos_token_id", std::uint32_t{7});
  const auto chat = load_model_chat(checkpoint);
  ASSERT_TRUE(chat);
  EXPECT_EQ(text_of(chat->choose(false)), "d");
  EXPECT_EQ(text_of(chat->choose(true)), "t");
  EXPECT_EQ(chat->bos_token, "<s>");
  EXPECT_FALSE(chat->eos_token);  // beyond the vocabulary
}

TEST(ModelChat, NoTemplateIsNothingAndABadOneAnError) {
  EXPECT_FALSE(load_model_chat(huggingface("{}")));
  EXPECT_FALSE(load_model_chat(huggingface(R"({"chat_template": null})")));
  EXPECT_THROW(load_model_chat(huggingface(R"({"chat_template": 5})")), Error);
  EXPECT_THROW(load_model_chat(huggingface(R"({"chat_template": [{"name": "x"}]})")), Error);
  try {
    load_model_chat(huggingface(R"({"chat_template": "\n{{"})"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).substr(0, 45), "model/tokenizer_config.json: chat_template:2:");
  }
}

}  // namespace
}  // namespace junto
