#include "train/reproduce/trunk.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "analyze/compare.h"
#include "base/error.h"
#include "format/test_directory.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

/// Three budgets of a few routers, on this repository's texts.
class Trunk : public testing::Test {
 protected:
  Json experiment(double flops = 2e8) const {
    CompareRequest request;
    request.routers = {"top2", "alf_lb", "sparsemixer"};
    request.texts = {{"docs", "docs/training.md"}};
    request.flops = flops;
    request.seeds = 1;
    request.smoke = true;
    return compare_experiment(request);
  }
  Setting setting(const Json& json, const std::string& runs) const {
    fs::create_directories(directory_.path("systems/compare"));
    directory_.put("systems/compare/experiment.json", json.dump());
    Setting out = make_setting({.slug = "compare",
                                .systems = directory_.path("systems"),
                                .runs = directory_.path(runs),
                                .out = {},
                                .arms = {},
                                .seeds = {},
                                .budget = {},
                                .texts = JUNTO_SOURCE_DIR,
                                .smoke = true});
    fs::create_directories(out.folder);
    return out;
  }
  static TrunkRuns runs_of(const std::string& router) {
    TrunkRuns out;
    for (const char* budget : {"1", "2", "3"})
      out.push_back({.arm = router + ".large." + budget, .seed = 2, .learning_rate = 0.01});
    return out;
  }
  /// Rows by arm; ends after `most` rows.
  static bool run(const Setting& setting, const TrunkRuns& runs, std::map<std::string, Json>& rows, std::size_t most) {
    std::size_t count = 0;
    return run_trunk(
        setting, runs, [&](const junto::Run& one) { return rows.contains(one.arm); },
        [&](const junto::Run& one, const Json& row) { rows[one.arm] = row, ++count; }, [&] { return count >= most; });
  }
  /// What a row says but for times, and for what was executed beside the trunk.
  static Json what_counts(Json row) {
    for (const char* key : {"seconds", "step_seconds", "expert_step_seconds", "own_flops"}) row.erase(key);
    return row;
  }

  const TestDirectory directory_;
};

TEST_F(Trunk, BranchesAreToTheBitWhatTrainingFromTheStartGives) {
  const Setting where = setting(experiment(), "runs");
  for (const char* router : {"alf_lb", "sparsemixer", "dense-active", "frozen"}) {
    std::map<std::string, Json> rows;
    const TrunkRuns runs = runs_of(router);
    ASSERT_TRUE(run(where, runs, rows, 10));
    double own = 0.0;
    for (const junto::Run& one : runs) {
      const Json whole = run_arm(where.experiment, one, where.texts, where.folder);
      EXPECT_EQ(what_counts(rows.at(one.arm)), what_counts(whole)) << one.arm;
      EXPECT_EQ(whole.at("own_flops"), whole.at("flops"));
      own += rows[one.arm].at("own_flops").get<double>();
    }
    EXPECT_LT(rows[runs[0].arm].at("own_flops").get<double>(), 0.5 * rows[runs[0].arm].at("flops").get<double>());
    EXPECT_LT(own, 1.4 * rows[runs[2].arm].at("flops").get<double>());
    EXPECT_GT(rows[runs[2].arm].at("step_seconds").get<double>(),
              rows[runs[2].arm].at("expert_step_seconds").get<double>());
    EXPECT_GT(rows[runs[2].arm].at("expert_step_seconds").get<double>(), 0.0);
  }
}

TEST_F(Trunk, ABudgetOfAStepOrTwoHasNoBranchAndTheSameRow) {
  const Setting where = setting(experiment(4e7), "runs");
  std::map<std::string, Json> rows;
  const TrunkRuns runs = runs_of("dense-total");
  ASSERT_TRUE(run(where, runs, rows, 10));
  EXPECT_EQ(rows.at(runs[0].arm).at("own_flops"), rows[runs[0].arm].at("flops"));
  EXPECT_EQ(what_counts(rows[runs[0].arm]), what_counts(run_arm(where.experiment, runs[0], where.texts, where.folder)));
}

TEST_F(Trunk, GoesOnFromTheLastBranchAndLeavesNothing) {
  const Setting where = setting(experiment(), "runs");
  const TrunkRuns runs = runs_of("alf_lb");
  std::map<std::string, Json> at_once, in_parts;
  ASSERT_TRUE(run(where, runs, at_once, 10));
  EXPECT_TRUE(fs::is_empty(where.folder));
  EXPECT_FALSE(run(where, runs, in_parts, 1));
  EXPECT_EQ(in_parts.size(), 1u);
  EXPECT_FALSE(fs::is_empty(where.folder));
  in_parts.clear();  // as if its row had not been written: it begins in the file that is there
  EXPECT_FALSE(run(where, runs, in_parts, 2));
  EXPECT_TRUE(run(where, runs, in_parts, 10));
  EXPECT_TRUE(fs::is_empty(where.folder));
  for (const auto& [arm, row] : at_once) EXPECT_EQ(what_counts(in_parts.at(arm)), what_counts(row)) << arm;
}

TEST_F(Trunk, RunsOfATrunkAndSeedAreTogetherAndThoseForTuningByThemselves) {
  const Setting where = setting(experiment(), "runs");
  std::vector<junto::Run> runs = runs_of("top2");
  std::reverse(runs.begin(), runs.end());
  runs.push_back({.arm = "top2.large.1", .seed = 3});
  runs.push_back({.arm = "top2.large.1", .seed = 2, .tuning = true});
  const std::vector<TrunkRuns> trunks = trunks_of(where.experiment, runs);
  ASSERT_EQ(trunks.size(), 3u);
  ASSERT_EQ(trunks[0].size(), 3u);
  EXPECT_EQ(trunks[0][0].arm, "top2.large.1");
  EXPECT_EQ(trunks[0][2].arm, "top2.large.3");
  EXPECT_DOUBLE_EQ(planned_flops(where.experiment, trunks[0][0], trunks[0]), 0.2 * 5e7);
  EXPECT_DOUBLE_EQ(planned_flops(where.experiment, trunks[0][2], trunks[0]), 2e8);
  EXPECT_DOUBLE_EQ(planned_flops(where.experiment, trunks[1][0], trunks[1]), 5e7);
}

TEST_F(Trunk, AnArmThatPartsFromItsTrunkEarlierIsRefused) {
  const auto refusal = [&](const Json& json) { return error_of([&] { setting(json, "runs"); }); };
  Json json = experiment();
  json["arms"][0]["set"].push_back("batch.sequences=2");
  EXPECT_NE(refusal(json).find("dense-active.small.1: trunk: dense-active.small.3: the arm differs at "
                               "/batch/sequences, expected to do so from its trunk in schedule.flops alone"),
            std::string::npos)
      << refusal(json);
  json = experiment();
  json["recipe"]["schedule"].erase("warmup_flops");
  json["recipe"]["schedule"]["warmup_share"] = 0.1;
  EXPECT_NE(refusal(json).find("has no wsd schedule with warmup_flops"), std::string::npos) << refusal(json);
  json = experiment();
  json["recipe"]["ramps"] = {{"losses.z", {{0, 0.1}, {1, 0}}}};
  EXPECT_NE(refusal(json).find("has ramps, stages or patience"), std::string::npos) << refusal(json);
}

}  // namespace
}  // namespace junto
