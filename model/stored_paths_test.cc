#include "model/stored_paths.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "model/path_predictor.h"

namespace junto {
namespace {

ModelConfig config_with(const std::string& paths) {
  Checkpoint checkpoint;
  checkpoint.path = "a.gguf";
  checkpoint.metadata.set(kStoredPathsKey, paths);
  ModelConfig config;
  config.vocab_size = 100;
  apply_stored_paths(checkpoint, config);
  return config;
}

std::string refusal_of_paths(const std::string& paths) {
  try {
    config_with(paths);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(StoredPaths, SayTheExpertsOfStages) {
  const ModelConfig config = config_with(stored_paths({8, 4, 8}).dump());
  EXPECT_EQ(config.path_experts, (std::vector<int>{8, 4, 8}));
  EXPECT_EQ(config.outputs(), 20);
  ModelConfig language;
  language.vocab_size = 7;
  EXPECT_EQ(language.outputs(), 7);
}

TEST(StoredPaths, MistakesNameFileAndField) {
  const std::string limits = ", expected numbers in 1..65535, in all 1048576 at most";
  for (const std::string wrong : {"0", "-1", "1.5", "65536", "\"a\""}) {
    EXPECT_EQ(refusal_of_paths(R"({"version":1,"experts":[3,)" + wrong + "]}"),
              "a.gguf: junto.paths: paths: experts is a list with " + wrong + limits);
  }
  std::string many = "[65535";
  for (int i = 0; i < 17; ++i) many += ",65535";
  EXPECT_NE(refusal_of_paths(R"({"version":1,"experts":)" + many + "]}"), "");
  EXPECT_NE(refusal_of_paths(R"({"version":2,"experts":[1]})").find("version"), std::string::npos);
  EXPECT_NE(refusal_of_paths(R"({"version":1})").find("experts is missing"), std::string::npos);
  EXPECT_NE(refusal_of_paths(R"({"version":1,"experts":[1],"heads":2})").find("heads"), std::string::npos);
  EXPECT_NE(refusal_of_paths("[1]"), "");
  EXPECT_NE(refusal_of_paths("{"), "");
}

TEST(PathPredictor, ReadsHalfOfItsContextAtLeastWhereThereIsAsMuch) {
  EXPECT_EQ(path_text_begin(0, 8), 0);
  EXPECT_EQ(path_text_begin(7, 8), 0);
  for (std::int64_t position = 8; position < 100; ++position) {
    const std::int64_t begin = path_text_begin(position, 8), read = position - begin + 1;
    EXPECT_EQ(begin % 4, 0);
    EXPECT_GT(read, 4);
    EXPECT_LE(read, 8);
  }
  EXPECT_EQ(path_text_begin(5, 1), 4);  // one token of context and the one before: more is not asked of it
}

}  // namespace
}  // namespace junto
