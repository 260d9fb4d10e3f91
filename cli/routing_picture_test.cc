#include "cli/routing_picture.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "cli/terminal.h"

namespace junto {
namespace {

/// A model of `layers` layers of `experts` experts, and the plans of `tokens` tokens with `k` experts each.
struct Scene {
  ModelConfig config;
  std::vector<RoutedBlock> blocks;
  std::vector<std::string> tokens;

  Scene(int layers, int experts, int k, int count) {
    for (int layer = 0; layer < layers; ++layer) {
      BlockSpec block;
      block.layer = layer;
      block.routed = true;
      block.moe.router.experts = experts;
      block.moe.kinds.assign(static_cast<std::size_t>(experts), ExpertKind::kFfn);
      config.blocks.push_back(block);
      RoutedBlock routed;
      routed.block = routed.layer = layer;
      for (int token = 0; token < count; ++token) {
        for (int slot = 0; slot < k; ++slot) {
          routed.plan.expert.push_back((token + layer + slot) % experts);
          routed.plan.weight.push_back(1.0f / static_cast<float>(1 << slot));
        }
        routed.plan.offset.push_back(static_cast<std::int32_t>(routed.plan.expert.size()));
      }
      blocks.push_back(std::move(routed));
    }
    for (int token = 0; token < count; ++token) tokens.push_back("token" + std::to_string(token));
  }
  std::string draw(const RoutingPicture& picture) const {
    std::vector<const RoutedBlock*> routed;
    for (const RoutedBlock& block : blocks) routed.push_back(&block);
    return draw_routing(config, routed, tokens, picture);
  }
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(RoutingPicture, HasAColumnForEachExpertAndTheLoadBelow) {
  const Scene scene(2, 4, 2, 3);
  EXPECT_EQ(scene.draw({}),
            "Experts of each token: a column for each expert, bars by weight (· not chosen)\n"
            "               layer 0 layer 1\n"
            "token0         █▄··    ·█▄·\n"
            "token1         ·█▄·    ··█▄\n"
            "token2         ··█▄    ▄··█\n"
            "load           ▄██▄    ▄▄██\n");
}

TEST(RoutingPicture, FreeExpertsLookDifferent) {
  Scene scene(1, 3, 1, 1);
  scene.config.blocks[0].moe.kinds[0] = ExpertKind::kZero;
  EXPECT_NE(scene.draw({}).find("token0         ○··"), std::string::npos) << scene.draw({});
}

TEST(RoutingPicture, ListsIdsWhereColumnsDoNotFit) {
  const Scene scene(2, 128, 8, 2);
  const std::string text = scene.draw({.width = 80});
  EXPECT_EQ(text,
            "Experts of each token, heaviest first\n"
            "               layer 0         layer 1\n"
            "token0           0   1   2   3   1   2   3   4\n"
            "token1           1   2   3   4   2   3   4   5\n");
}

TEST(RoutingPicture, StaysWithinTheWidth) {
  for (const int layers : {1, 3, 16, 48, 96}) {
    for (const int experts : {2, 8, 60, 256}) {
      for (const int width : {40, 80, 100}) {
        const Scene scene(layers, experts, std::min(experts, 8), 3);
        const std::string text = scene.draw({.width = width});
        for (const std::string& line : lines_of(text)) {
          if (line.starts_with("Experts")) continue;  // the caption
          EXPECT_LE(display_width(line), width) << layers << " layers, " << experts << " experts\n" << text;
        }
      }
    }
  }
}

TEST(RoutingPicture, ChosenLayersIncludeTheFirstAndTheLast) {
  const std::string text = Scene(48, 128, 8, 1).draw({.width = 80});
  EXPECT_NE(text.find("of 48 layers"), std::string::npos) << text;
  EXPECT_NE(text.find("layer 0 "), std::string::npos) << text;
  EXPECT_NE(text.find("layer 47"), std::string::npos) << text;
}

TEST(RoutingPicture, LongTextsShowTheirEnds) {
  const std::vector<std::string> lines = lines_of(Scene(1, 4, 1, 100).draw({.most_rows = 10}));
  ASSERT_EQ(lines.size(), 2u + 10 + 1 + 1);
  EXPECT_TRUE(lines[2].starts_with("token0 "));
  EXPECT_EQ(lines[7], "... 90 more tokens");
  EXPECT_TRUE(lines[12].starts_with("token99 "));
}

TEST(RoutingPicture, ColoursOnlyWhereAsked) {
  const Scene scene(1, 4, 2, 2);
  EXPECT_EQ(scene.draw({}).find('\033'), std::string::npos);
  EXPECT_NE(scene.draw({.colour = true}).find("\033[38;5;"), std::string::npos);
}

}  // namespace
}  // namespace junto
