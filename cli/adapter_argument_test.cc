// --adapter of the built program.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "cli/test_program.h"
#include "format/safetensors.h"

namespace junto {
namespace {

class AdapterArgument : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(adapter_);
    scratch_.put("adapter/adapter_config.json", R"({"peft_type": "LORA", "lora_alpha": 2})");
    const std::string module = "base_model.model.model.layers.0.mlp.up_proj";
    write_safetensors(adapter_ + "/adapter_model.safetensors",
                      {to_write(module + ".lora_A.weight", make_tensor({2, 64}, std::vector<float>(128, 0.1f))),
                       to_write(module + ".lora_B.weight", make_tensor({96, 2}, std::vector<float>(192, 0.1f)))});
  }

  std::vector<std::byte> logits(const std::vector<std::string>& adapters) const {
    const std::string out = scratch_.path("out.safetensors");
    std::vector<std::string> words = {"logits", checkpoint_path("llama"), "--ids", "1,2,3", "--out", out};
    for (const std::string& adapter : adapters) words.insert(words.end(), {"--adapter", adapter});
    const Ran ran = run_junto(words);
    EXPECT_EQ(ran.status, 0) << ran.err;
    const SafetensorsFile file = open_safetensors(out);
    const std::span<const std::byte> bytes = file.tensors.find("logits")->bytes;
    return {bytes.begin(), bytes.end()};
  }

  const Scratch scratch_;
  const std::string adapter_ = scratch_.path("adapter");
};

TEST_F(AdapterArgument, ChangesWhatTheModelComputesByItsScale) {
  const auto plain = logits({}), with = logits({adapter_}), half = logits({adapter_ + ":0.5"});
  EXPECT_NE(with, plain);
  EXPECT_NE(half, with);
  EXPECT_EQ(logits({adapter_ + ":0"}), plain);
  EXPECT_NE(logits({adapter_, adapter_ + ":-0.5"}), plain);
}

TEST_F(AdapterArgument, MistakesAreNamed) {
  const auto error = [&](const std::string& adapter) {
    const Ran ran = run_junto({"logits", checkpoint_path("llama"), "--ids", "1", "--adapter", adapter, "--out",
                               scratch_.path("out.safetensors")});
    EXPECT_EQ(ran.status, 1);
    return ran.err;
  };
  EXPECT_NE(error("no-such").find("no-such: no such file or directory, expected a PEFT directory"), std::string::npos);
  EXPECT_NE(error(adapter_ + ":x").find("\"x\" after the colon is no scale"), std::string::npos);
  const Ran as_model = run_junto({"inspect", adapter_});
  EXPECT_EQ(as_model.status, 1);
  EXPECT_NE(as_model.err.find("--adapter takes it beside one"), std::string::npos);
}

}  // namespace
}  // namespace junto
