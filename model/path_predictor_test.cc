#include "model/path_predictor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "format/test_directory.h"
#include "model/test_path_predictor.h"

namespace junto {
namespace {

class PathPredictorTest : public testing::Test {
 protected:
  PathPredictorTest() {
    write_path_predictor(file_, {4, 3}, 50);
    model_ = load_path_predictor(file_);
    for (int i = 0; i < 40; ++i) tokens_.push_back((i * 7 + i * i) % 50);
  }
  std::vector<float> fresh(std::size_t count) {
    PathPredictor predictor(model_, pool_);
    const auto chances = predictor.predict(std::span(tokens_).first(count));
    return {chances.begin(), chances.end()};
  }

  const TestDirectory directory_;
  const std::string file_ = directory_.path("paths.gguf");
  std::shared_ptr<const Model> model_;
  ThreadPool pool_{2};
  std::vector<std::int32_t> tokens_;
};

TEST_F(PathPredictorTest, WhatItSaysFollowsFromTheTokensHoweverTheyCame) {
  PathPredictor predictor(model_, pool_);
  std::vector<std::int32_t> other = tokens_;
  other[1] = 49;
  for (const std::size_t count : {1u, 2u, 3u, 5u, 6u, 7u, 9u, 40u, 12u, 13u, 3u}) {
    const auto chances = predictor.predict(std::span(tokens_).first(count));
    ASSERT_EQ(chances.size(), 7u);
    for (const float chance : chances) EXPECT_TRUE(chance > 0 && chance < 1);
    EXPECT_EQ(std::vector<float>(chances.begin(), chances.end()), fresh(count)) << count;
    predictor.predict(std::span(other).first(count));
  }
  for (int i = 0; i < 40; ++i) {  // more texts than are kept
    other[0] = i;
    predictor.predict(std::span(other).first(4));
  }
  const auto again = predictor.predict(std::span(tokens_).first(5));
  EXPECT_EQ(std::vector<float>(again.begin(), again.end()), fresh(5));
}

TEST_F(PathPredictorTest, KnowsNothingOfWhatIsNoTokenOfIts) {
  PathPredictor predictor(model_, pool_);
  tokens_[4] = kNoToken;
  EXPECT_TRUE(predictor.predict(std::span(tokens_).first(5)).empty());
  tokens_[4] = 50;
  EXPECT_TRUE(predictor.predict(std::span(tokens_).first(5)).empty());
  EXPECT_EQ(predictor.predict(std::span(tokens_).first(12)).size(), 7u);  // it is not read any more
  EXPECT_TRUE(predictor.predict({}).empty());
}

TEST_F(PathPredictorTest, OfAnotherModelOrNoneIsRefused) {
  const std::string folder = JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/";
  EXPECT_THROW(load_path_predictor(folder + "llama"), Error);
  ModelConfig config = load_model(folder + "olmoe")->config;
  try {
    expect_paths_of(*model_, config, "olmoe");
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), file_ + ": predicts routers of [4,3] experts, those of olmoe have [16,16,16]");
  }
  config.blocks.resize(1);
  config.blocks[0].moe.router.experts = 4;
  EXPECT_THROW(expect_paths_of(*model_, config, "olmoe"), Error);
  config.blocks.push_back(config.blocks[0]);
  config.blocks[1].moe.router.experts = 3;
  EXPECT_THROW(expect_paths_of(*model_, config, "olmoe"), Error);  // its vocabulary is larger
  config.vocab_size = 50;
  EXPECT_NO_THROW(expect_paths_of(*model_, config, "olmoe"));
}

}  // namespace
}  // namespace junto
