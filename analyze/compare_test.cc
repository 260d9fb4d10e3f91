#include "analyze/compare.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "base/error.h"
#include "format/test_directory.h"

namespace junto {
namespace {

CompareRequest two_routers() {
  CompareRequest request;
  request.routers = {"top2", "alf_lb", "top2"};
  request.texts = {{"mail", "mix/mail.txt"}};
  request.flops = 4e9;
  return request;
}

TEST(Compare, IsAnExperimentWithAllControlsAtEverySizeAndBudget) {
  const TestDirectory directory;
  const std::string path = directory.put("experiment.json", compare_experiment(two_routers()).dump());
  const Experiment experiment = read_experiment(path, false);
  EXPECT_EQ(experiment.arms.size(), 6u * 2u * 3u);
  for (const char* router : {"dense-active", "dense-total", "frozen", "hash", "top2", "alf_lb"}) {
    for (const char* rest : {".small.1", ".small.3", ".large.2"})
      EXPECT_NO_THROW(arm_of(experiment, std::string(router) + rest));
  }
  std::set<std::string> budgets;
  for (const Arm& arm : experiment.arms) {
    budgets.insert(arm.set.back());
    EXPECT_EQ(arm.tuned_as.empty(), arm.name.ends_with(".1")) << arm.name;
    EXPECT_EQ(arm.trunk.empty(), arm.name.ends_with(".3")) << arm.name;
  }
  EXPECT_EQ(budgets, (std::set<std::string>{"schedule.flops=1000000000.0", "schedule.flops=2000000000.0",
                                            "schedule.flops=4000000000.0"}));
  EXPECT_EQ(experiment.claims.size(), 5u);  // the baseline has none against itself
  EXPECT_EQ(read_experiment(path, true).seeds, 5);
}

TEST(Compare, AnUnknownRouterIsNamedWithTheKnownOnes) {
  CompareRequest request = two_routers();
  request.routers = {"top3"};
  const std::string error = error_of([&] { compare_experiment(request); });
  EXPECT_EQ(error.find("--routers: has top3, expected some of top1, top2, top_p, expert_choice, alf_lb, sparsemixer"),
            0u)
      << error;
}

/// `bits` of (router, size index, budget, seed) for two budgets.
template <class Bits>
Json result_of(const Bits& bits, int seeds) {
  Json out = {{"arms", Json::array()}};
  const std::vector<std::string> sizes = {"small", "large"};
  for (std::size_t size = 0; size < sizes.size(); ++size) {
    for (int budget = 1; budget <= 2; ++budget) {
      for (const char* router : {"dense-active", "top2"}) {
        Json runs = Json::array();
        for (int seed = 1; seed <= seeds; ++seed) {
          runs.push_back({{"seed", seed},
                          {"seconds", 1.5},
                          {"step_seconds", 0.012},
                          {"expert_step_seconds", 0.005},
                          {"flops", 1e9 * budget},
                          {"parameters", 1000 * (size + 1)},
                          {"metrics", {{"bits_per_byte", bits(std::string(router), size, budget, seed)}}}});
        }
        out["arms"].push_back(
            {{"name", std::string(router) + "." + sizes[size] + "." + std::to_string(budget)}, {"runs", runs}});
      }
    }
  }
  return out;
}

// The advantage of top2 is 0.1 * budget when small, 0.3 when large, but for noise of 0.001 by seed.
double bits_of(const std::string& router, std::size_t size, int budget, int seed) {
  const double base = 3.0 - 0.1 * budget + 0.01 * seed;
  if (router == "dense-active") return base;
  return base - (size == 0 ? 0.1 * budget : 0.3) + 0.001 * ((seed * (budget + 1) + static_cast<int>(size)) % 3 - 1);
}

TEST(Compare, SaysWhichGapsGrowOrShrinkAndNothingBeyondTheRange) {
  const Json result = result_of(bits_of, 5);
  const std::vector<CompareTrend> trends = compare_trends(result);
  ASSERT_EQ(trends.size(), 3u);
  EXPECT_EQ(trends[0].over, "budget, small");
  EXPECT_NEAR(trends[0].differences[0], 0.1, 0.003);
  EXPECT_LT(trends[0].adjusted_p, 0.05);
  EXPECT_GT(trends[1].adjusted_p, 0.05);
  const std::string text = describe_comparison(result);
  EXPECT_NE(text.find("top2, with budget, small: grows, +0.1"), std::string::npos) << text;
  EXPECT_NE(text.find("top2, with budget, large: neither growth nor shrinkage is shown"), std::string::npos) << text;
  EXPECT_NE(text.find("top2, with size: grows, +0.099"), std::string::npos) << text;
  EXPECT_NE(text.find("12 ms a step, 5 of them experts"), std::string::npos) << text;
  EXPECT_NE(text.find("measured from 1e+09 to 2e+09 executed FLOP and from 1000 to 2000 parameters"), std::string::npos)
      << text;
  const Json turned = result_of([](const std::string& router, std::size_t size, int budget,
                                   int seed) { return bits_of(router, 1 - size, 3 - budget, seed); },
                                5);
  EXPECT_NE(describe_comparison(turned).find("top2, with size: "), std::string::npos);
  EXPECT_NE(describe_comparison(turned).find("top2, with budget, large: shrinks, -0.1"), std::string::npos)
      << describe_comparison(turned);
}

TEST(Compare, OneSeedShowsNothing) {
  const std::string text = describe_comparison(result_of(bits_of, 1));
  EXPECT_EQ(text.find("grows"), std::string::npos) << text;
  EXPECT_NE(text.find("(one seed)"), std::string::npos);
}

TEST(Compare, ThePictureHasALineARouterAndSize) {
  const std::string picture = comparison_picture(result_of(bits_of, 3));
  for (const char* words : {"small", "large", "top2", "dense-active", "executed GFLOP"}) {
    EXPECT_NE(picture.find(words), std::string::npos) << words;
  }
  EXPECT_THROW(comparison_picture({{"arms", {{{"name", "none"}, {"runs", Json::array()}}}}}), Error);
}

}  // namespace
}  // namespace junto
