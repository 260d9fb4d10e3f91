#include "format/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"
#include "format/gguf.h"
#include "format/huggingface.h"
#include "format/safetensors.h"
#include "format/test_directory.h"

namespace junto {
namespace {

namespace fs = std::filesystem;
const std::string kOracles = JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints";

class CheckpointTest : public ::testing::Test {
 protected:
  // A directory whose model.safetensors holds "a" [2, 3] = 0..5 and "b" [1] = 7.
  void put_model() {
    directory_.put("config.json", R"({"architectures": ["LlamaForCausalLM"]})");
    write_safetensors(directory_.path("model.safetensors"), {to_write("a", a_), to_write("b", b_)});
  }
  // The same in two shards.
  void put_shards(const std::string& index) {
    directory_.put("config.json", "{}");
    write_safetensors(directory_.path("model-1.safetensors"), {to_write("a", a_)});
    write_safetensors(directory_.path("model-2.safetensors"), {to_write("b", b_)});
    directory_.put("model.safetensors.index.json", index);
  }
  std::string opening() const {
    return error_of([&] { open_checkpoint(directory_.path()); });
  }

  const Tensor a_ = make_tensor({2, 3}, {0, 1, 2, 3, 4, 5});
  const Tensor b_ = make_tensor({1}, {7});
  TestDirectory directory_;
};

TEST_F(CheckpointTest, OpensEveryOracle) {
  int opened = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kOracles)) {
    const Checkpoint checkpoint = open_checkpoint(entry.path().string());
    EXPECT_EQ(checkpoint.kind, Checkpoint::Kind::kHuggingFace);
    EXPECT_TRUE(checkpoint.config.contains("architectures")) << entry.path();
    EXPECT_FALSE(checkpoint.tokenizer_json_path.empty()) << entry.path();
    EXPECT_GT(checkpoint.tensors().size(), 3u) << entry.path();
    ++opened;
  }
  EXPECT_EQ(opened, 27);
}

TEST_F(CheckpointTest, ReadsTheShardsOfAnOracle) {
  const Checkpoint checkpoint = open_checkpoint(kOracles + "/qwen3");
  EXPECT_EQ(checkpoint.require("model.embed_tokens.weight", {384, 64}).type, DType::kBF16);
  EXPECT_NE(checkpoint.find("model.layers.0.self_attn.q_norm.weight"), nullptr);
}

TEST_F(CheckpointTest, OpensADirectory) {
  put_model();
  directory_.put("generation_config.json", R"({"temperature": 0.6})");
  directory_.put("tokenizer_config.json", R"({"bos_token": "<s>"})");
  directory_.put("tokenizer.json", "{}");
  directory_.put("chat_template.jinja", "{{ messages }}");
  const Checkpoint checkpoint = open_checkpoint(directory_.path());
  EXPECT_EQ(checkpoint.config["architectures"][0], "LlamaForCausalLM");
  EXPECT_EQ(checkpoint.generation_config["temperature"], 0.6);
  EXPECT_EQ(checkpoint.tokenizer_config["bos_token"], "<s>");
  EXPECT_EQ(checkpoint.tokenizer_json_path, directory_.path("tokenizer.json"));
  EXPECT_EQ(checkpoint.chat_template_file, "{{ messages }}");
  EXPECT_EQ(decode(checkpoint.require("a", {2, 3})), decode(a_));
  EXPECT_EQ(decode(*checkpoint.find("b")), decode(b_));
  EXPECT_EQ(checkpoint.find("c"), nullptr);
}

TEST_F(CheckpointTest, AbsentFilesAreNull) {
  put_model();
  const Checkpoint checkpoint = open_checkpoint(directory_.path());
  EXPECT_TRUE(checkpoint.generation_config.is_null());
  EXPECT_TRUE(checkpoint.tokenizer_config.is_null());
  EXPECT_EQ(checkpoint.tokenizer_json_path, "");
  EXPECT_EQ(checkpoint.chat_template_file, "");
}

TEST_F(CheckpointTest, RequireNamesShapesAndNearestName) {
  put_model();
  const Checkpoint checkpoint = open_checkpoint(directory_.path());
  EXPECT_EQ(error_of([&] {
              checkpoint.require("a", {3, 2});
            }),
            directory_.path() + ": tensor \"a\" has shape [2, 3], expected [3, 2]");
  EXPECT_EQ(error_of([&] { checkpoint.require("aa", {3}); }),
            directory_.path() + ": tensor \"aa\" of shape [3] is missing, nearest is \"a\"");
}

TEST_F(CheckpointTest, OpensAGgufFile) {
  Metadata metadata;
  metadata.set("general.architecture", std::string("llama"));
  write_gguf(directory_.path("m.bin"), metadata, {to_write("a", a_)});
  const Checkpoint checkpoint = open_checkpoint(directory_.path("m.bin"));
  EXPECT_EQ(checkpoint.kind, Checkpoint::Kind::kGguf);
  EXPECT_EQ(checkpoint.metadata.required_string("general.architecture"), "llama");
  EXPECT_TRUE(checkpoint.config.is_null());
  EXPECT_EQ(decode(checkpoint.require("a", {2, 3})), decode(a_));
}

TEST_F(CheckpointTest, ShardsOpenByTheIndex) {
  put_shards(R"({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})");
  const Checkpoint checkpoint = open_checkpoint(directory_.path());
  EXPECT_EQ(decode(checkpoint.require("a", {2, 3})), decode(a_));
  EXPECT_EQ(decode(checkpoint.require("b", {1})), decode(b_));
}

TEST_F(CheckpointTest, ATensorThatTheIndexDoesNotNameIsNotPartOfTheModel) {
  put_shards(R"({"weight_map": {"a": "model-1.safetensors"}})");
  EXPECT_EQ(open_checkpoint(directory_.path()).find("b"), nullptr);
}

TEST_F(CheckpointTest, BadIndexesAreRefused) {
  put_shards(R"({"weight_map": {"a": "model-1.safetensors", "b": "model-3.safetensors"}})");
  EXPECT_EQ(opening(),
            directory_.path("model-3.safetensors") + ": is missing, but model.safetensors.index.json names it");
  put_shards(R"({"weight_map": {"a": "model-2.safetensors"}})");
  EXPECT_EQ(opening(), directory_.path("model-2.safetensors") +
                           ": tensor \"a\" is missing, but model.safetensors.index.json places it here");
  const std::string index = directory_.path("model.safetensors.index.json");
  for (const std::string name : {"../x.safetensors", "/etc/x.safetensors", "..", "", "a\\\\b.safetensors",
                                 ".x.safetensors", "x.bin", "a\\u0000.safetensors"}) {
    put_shards("{\"weight_map\": {\"a\": \"" + name + "\"}}");
    EXPECT_TRUE(opening().starts_with(index + ": weight_map of tensor \"a\" is \"")) << opening();
  }
  put_shards(R"({"weight_map": {"a": 1}})");
  EXPECT_EQ(opening(), index + ": weight_map of tensor \"a\" is no string, expected a shard file");
  for (const std::string text : {"[]", "{}", R"({"weight_map": []})", "null"}) {
    put_shards(text);
    EXPECT_EQ(opening(), index + ": weight_map is missing, expected an object from tensor names to shard files");
  }
  put_shards(std::string(1000, '['));
  EXPECT_TRUE(opening().starts_with(index + ": JSON is nested deeper")) << opening();
}

TEST_F(CheckpointTest, OtherThingsAreRefusedByWhatTheyAre) {
  EXPECT_EQ(
      error_of([&] { open_checkpoint(directory_.path("absent")); }),
      directory_.path("absent") + ": no such file or directory, expected a GGUF file or a Hugging Face directory");
  EXPECT_EQ(opening(), directory_.path() + ": is an empty directory, expected config.json");
  directory_.put("notes.txt", "hello");
  EXPECT_EQ(opening(), directory_.path() + ": has no config.json");
  EXPECT_EQ(error_of([&] { open_checkpoint(directory_.path("notes.txt")); }),
            directory_.path("notes.txt") + ": is neither a GGUF file nor a Hugging Face directory");
  EXPECT_EQ(
      error_of([&] { open_checkpoint(directory_.path("model.safetensors")); }).substr(0, directory_.path().size()),
      directory_.path());
  directory_.put("config.json", "{}");
  const std::string expected = "expected model.safetensors or model.safetensors.index.json";
  EXPECT_EQ(opening(), directory_.path() + ": has no model.safetensors or model.safetensors.index.json");
  directory_.put("model.gguf", "");
  EXPECT_EQ(opening(), directory_.path() +
                           ": is a directory with GGUF files, expected one of them: " + directory_.path("model.gguf"));
  directory_.put("pytorch_model.bin", "");
  EXPECT_EQ(opening(), directory_.path() + ": holds PyTorch weights (pytorch_model.bin), " + expected);
  directory_.put("adapter_config.json", "{}");
  EXPECT_EQ(opening(), directory_.path() +
                           ": holds an adapter (adapter_config.json), expected a full model with "
                           "model.safetensors or model.safetensors.index.json; --adapter takes it beside one");
}

TEST_F(CheckpointTest, BadConfigsAreRefused) {
  put_model();
  const std::string config = directory_.path("config.json");
  directory_.put("config.json", "null");
  EXPECT_EQ(opening(), config + ": holds null, expected an object");
  directory_.put("config.json", "[]");
  EXPECT_EQ(opening(), config + ": holds array, expected an object");
  directory_.put("config.json", "{");
  EXPECT_TRUE(opening().starts_with(config + ": not valid JSON")) << opening();
}

}  // namespace
}  // namespace junto
