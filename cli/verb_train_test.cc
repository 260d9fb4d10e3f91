// `junto train` starts junto-train, which is built where LibTorch is.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

TEST(TrainVerb, TrainsATinyRecipeOrSaysWhatIsMissing) {
  const Scratch scratch;
  std::string text;
  for (int i = 0; i < 200; ++i) text += "the cat sat on the mat number " + std::to_string(i) + "\n";
  const Json recipe = {{"version", 1},
                       {"model",
                        {{"hidden", 32},
                         {"layers", 2},
                         {"heads", 2},
                         {"expert_width", 32},
                         {"router", {{"version", 1}, {"experts", 4}, {"select", {{"rule", "top_k"}, {"k", 2}}}}}}},
                       {"data", {{"files", {scratch.put("text", text)}}, {"separator", "\n"}, {"vocabulary", 300}}},
                       {"batch", {{"sequences", 2}, {"length", 16}}},
                       {"schedule", {{"steps", 500}}},
                       {"run", {{"folder", scratch.path("run")}}}};
  const std::string path = scratch.put("recipe.json", recipe.dump());
  const std::filesystem::path program = std::filesystem::path(JUNTO_BINARY).parent_path() / "junto-train";
  if (!std::filesystem::exists(program)) {
    EXPECT_NE(run_junto({"train", path}).err.find("scripts/setup train"), std::string::npos);
    return;
  }
  const Ran ran = run_junto({"train", path, "--smoke"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(ran.out.find("model.gguf: 10 steps"), std::string::npos) << ran.out;
  const Ran said =
      run_junto({"run", scratch.path("run-smoke/model.gguf"), "--raw", "-p", "the cat", "-n", "4", "--temp", "0"});
  ASSERT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.err.find(" 2.0 of 4 experts"), std::string::npos) << said.err;
  EXPECT_EQ(run_junto({"train", path, "--set", "model.layres=2"}).status, 1);
}

}  // namespace
}  // namespace junto
