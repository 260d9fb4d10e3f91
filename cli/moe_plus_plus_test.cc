// junto convert, inspect, run and trace on a checkpoint of MoE++ under its released names.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "cli/test_program.h"
#include "model/test_moe_plus_plus.h"

namespace junto {
namespace {

TEST(MoePlusPlusCheckpoint, ConvertsInspectsAndRunsLikeItsDirectory) {
  const TestDirectory source;
  const Scratch scratch;
  write_moe_plus_plus(source);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
    std::filesystem::copy_file(checkpoint_path("llama") + "/" + file, source.path(file));
  const std::string gguf = scratch.path("model.gguf");
  const Ran converted = run_junto({"convert", source.path(), gguf});
  ASSERT_EQ(converted.status, 0) << converted.err;
  for (const std::string& path : {source.path(), gguf}) {
    SCOPED_TRACE(path);
    const Ran inspected = run_junto({"inspect", path, "--json"});
    ASSERT_EQ(inspected.status, 0) << inspected.err;
    const Json experts = Json::parse(inspected.out).at("layers").at(0).at("experts");
    EXPECT_EQ(experts.at("kinds"), (Json{{"constant", 2}, {"copy", 1}, {"ffn", 5}, {"zero", 1}}));
    EXPECT_EQ(experts.at("input_scale"), 2.0);
    EXPECT_EQ(experts.at("router").at("weightless"), 1);
    EXPECT_EQ(experts.at("router").at("logits_hidden"), 72);
  }
  const auto answer = [](const std::string& path) {
    const Ran ran = run_junto({"run", path, "--raw", "-p", "The engine", "--max-tokens", "8", "--temp", "0"});
    EXPECT_EQ(ran.status, 0) << ran.err;
    return ran.out;
  };
  EXPECT_EQ(answer(gguf), answer(source.path()));
  const Ran traced = run_junto({"trace", gguf, "--ids", "5,17,40,3,9", "--out", scratch.path("t")});
  EXPECT_NE(traced.out.find("5 tokens in 1 sequences, 3 layers"), std::string::npos) << traced.out << traced.err;
}

}  // namespace
}  // namespace junto
