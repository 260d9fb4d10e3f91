#include "analyze/experiment.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "format/test_directory.h"

namespace junto {
namespace {

Json small() {
  return {{"version", 1},
          {"slug", "x"},
          {"title", "X"},
          {"paper", "arXiv 0000.00000"},
          {"recipe", {{"schedule", {{"steps", 100}, {"warmup_steps", 3}}}}},
          {"texts", {{"a", "mix/a.txt"}}},
          {"seeds", 5},
          {"arms", {{{"name", "old"}, {"about", "the old way"}}, {{"name", "new"}, {"about", "?"}, {"seeds", 3}}}},
          {"noise", "old"},
          {"claims",
           {{{"name", "c"}, {"text", "t"}, {"arm", "new"}, {"against", "old"}, {"metric", "m"}, {"kind", "less"}}}},
          {"smoke", {{"recipe", {{"schedule", {{"steps", 2}}}}}, {"seeds", 2}, {"texts", {{"b", "b.txt"}}}}}};
}

std::string refusal(const Json& json) {
  const TestDirectory directory;
  try {
    read_experiment(directory.put("experiment.json", json.dump()), false);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Experiment, TheNoiseArmRepeatsItsBaselineWithOtherSeeds) {
  const TestDirectory directory;
  const Experiment found = read_experiment(directory.put("experiment.json", small().dump()), false);
  ASSERT_EQ(found.arms.size(), 3u);
  EXPECT_EQ(found.arms[2].name, "again");
  EXPECT_EQ(found.arms[2].tuned_as, "old");
  EXPECT_GT(found.arms[2].seed_offset, 1000);
  EXPECT_EQ(found.sha256.size(), 64u);
}

TEST(Experiment, SmokeMergesIntoTheRecipeAndBoundsSeeds) {
  const TestDirectory directory;
  const Experiment found = read_experiment(directory.put("experiment.json", small().dump()), true);
  EXPECT_EQ(found.recipe.at("schedule"), (Json{{"steps", 2}, {"warmup_steps", 3}}));
  EXPECT_EQ(found.seeds, 2);
  EXPECT_EQ(found.arms[1].seeds, 2);
  EXPECT_EQ(found.texts[0].path, "b.txt");
}

TEST(Experiment, ATrunkIsAnArmWithTheSameRateAndNoTrunkOfItsOwn) {
  Json json = small();
  json["noise"] = "new";
  json["arms"][0]["trunk"] = "new";
  EXPECT_NE(refusal(json).find("old: trunk: expected the trunk's learning rate, tuned_as is another"),
            std::string::npos)
      << refusal(json);
  json["arms"][0]["tuned_as"] = "new";
  EXPECT_EQ(refusal(json), "");
  json["arms"][1]["trunk"] = "old";
  EXPECT_NE(refusal(json).find("old: trunk: expected a trunk, new has one of its own"), std::string::npos)
      << refusal(json);
  json["arms"][0].erase("trunk");
  json["arms"][1]["trunk"] = "young";
  EXPECT_NE(refusal(json).find("has no arm young"), std::string::npos) << refusal(json);
}

TEST(Experiment, MistakesAreNamed) {
  Json json = small();
  json["corruption"] = {{"share", 2}};
  EXPECT_NE(refusal(json).find("corruption: share is 2, expected a number in 0.0..1.0"), std::string::npos)
      << refusal(json);
  json["corruption"] = {{"token", 64}};
  EXPECT_NE(refusal(json).find("corruption: share is 0 or missing"), std::string::npos) << refusal(json);
  json = small();
  json["claims"][0]["arm"] = "nwe";
  EXPECT_NE(refusal(json).find("has no arm nwe, expected old, new"), std::string::npos) << refusal(json);
  json = small();
  json["claims"][0]["kind"] = "no_worse";
  EXPECT_NE(refusal(json).find("margin"), std::string::npos) << refusal(json);
  json = small();
  json["arms"][1]["name"] = "old";
  EXPECT_NE(refusal(json).find("old twice"), std::string::npos) << refusal(json);
  json = small();
  json["arms"][1]["name"] = "../../etc";
  EXPECT_NE(refusal(json).find("expected a-z"), std::string::npos) << refusal(json);
  json = small();
  json["sedes"] = 3;
  EXPECT_NE(refusal(json).find("sedes"), std::string::npos) << refusal(json);
  json = small();
  json.erase("smoke");
  EXPECT_NE(refusal(json).find("smoke"), std::string::npos) << refusal(json);
}

// Folders are found, not listed: each system of the repository declares an experiment that can be read.
TEST(Experiment, AllSystemsDeclareOneWithFiveSeedsForEachDecidingPair) {
  int systems = 0;
  for (const auto& entry : std::filesystem::directory_iterator(JUNTO_SOURCE_DIR "/systems")) {
    ++systems;
    const std::string folder = entry.path().string();
    const Experiment found = read_experiment(folder + "/experiment.json", false);
    EXPECT_EQ(found.slug, entry.path().filename().string());
    EXPECT_FALSE(found.noise.empty()) << folder;
    EXPECT_TRUE(std::filesystem::exists(folder + "/README.md")) << folder;
    EXPECT_GE(found.seeds, 5) << folder;
    for (const Claim& claim : found.claims) {
      for (const std::string& name : {claim.arm, claim.against.empty() ? claim.arm : claim.against}) {
        const std::int64_t seeds = arm_of(found, name).seeds;
        EXPECT_TRUE(seeds == 0 || seeds >= 5) << folder << ": " << claim.name << ": " << name;
      }
    }
    EXPECT_NO_THROW(read_experiment(folder + "/experiment.json", true)) << folder;
  }
  EXPECT_GE(systems, 2);
}

}  // namespace
}  // namespace junto
