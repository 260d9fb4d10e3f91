// `junto compare` of the built program: it plans, trains, keeps and describes.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

class CompareVerb : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(std::filesystem::path(JUNTO_BINARY).parent_path() / "junto-train")) {
      GTEST_SKIP() << "the training half was not built";
    }
  }

  Ran run(const std::vector<std::string>& more,
          const std::string& text = std::string(JUNTO_SOURCE_DIR) + "/docs/training.md") const {
    std::vector<std::string> words = {"compare", "--smoke", "--data", text,     "--budgets",
                                      "2",       "--seeds", "2",      "--runs", scratch_.path("runs")};
    words.insert(words.end(), more.begin(), more.end());
    return run_junto(words);
  }

  const Scratch scratch_;
};

TEST_F(CompareVerb, TrainsEveryRouterBesideTheControlsAndGoesOnFromWhatIsKept) {
  const std::string all = "top1,top2,top_p,expert_choice,alf_lb,sparsemixer,base,gap";
  const Ran plan = run({"--routers", all, "--flops", "2e7", "--dry-run"});
  ASSERT_EQ(plan.status, 0) << plan.err;
  EXPECT_NE(plan.out.find("sparsemixer.large.2"), std::string::npos) << plan.out;
  EXPECT_NE(plan.out.find("minutes on"), std::string::npos);
  EXPECT_EQ(plan.out.find("1099511627776"), std::string::npos) << "steps are those that the budget pays for";

  const Ran first = run({"--routers", all, "--flops", "2e7"});
  ASSERT_EQ(first.status, 0) << first.err;
  for (const char* words :
       {"dense-total, small, ", "frozen, large, ", "top_p, with size: ", "nothing is said beyond"}) {
    EXPECT_NE(first.out.find(words), std::string::npos) << words << "\n" << first.out;
  }
  const Json result = Json::parse(contents(scratch_.path("runs/compare-smoke.json")));
  EXPECT_EQ(result.at("mode"), "smoke");
  ASSERT_EQ(result.at("arms").size(), 12u * 2u * 2u);
  for (const Json& arm : result["arms"]) {
    ASSERT_EQ(arm.at("runs").size(), 2u);
    // Equal budgets: a run ends with the step that spends the last of them.
    const double budget = arm.at("recipe").at("schedule").at("flops");
    EXPECT_GE(arm["runs"][0].at("flops").get<double>(), budget) << arm["name"];
  }
  EXPECT_TRUE(contents(scratch_.path("runs/compare-smoke.svg")).starts_with("<svg"));

  const Ran again = run({"--routers", all, "--flops", "2e7"});
  EXPECT_EQ(again.out, first.out);
  EXPECT_EQ(again.err.find("seed 1"), std::string::npos) << again.err;
}

TEST_F(CompareVerb, MistakesAreNamed) {
  EXPECT_NE(run({"--routers", "top9"}).err.find("--routers: has top9, expected some of top1"), std::string::npos);
  EXPECT_NE(run({"--routers", "top1", "--flops", "many"}).err.find("--flops: is many, expected"), std::string::npos);
  EXPECT_NE(run({"--routers", "top1"}, "none.txt").err.find("--data: has none.txt, which is no file"),
            std::string::npos);
}

}  // namespace
}  // namespace junto
