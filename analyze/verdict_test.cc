#include "analyze/verdict.h"

#include <gtest/gtest.h>

namespace junto {
namespace {

/// Runs of two arms with the values given, seeds from 1.
std::vector<RunMetrics> runs_of(const std::vector<double>& arm, const std::vector<double>& against) {
  std::vector<RunMetrics> runs;
  for (std::size_t i = 0; i < arm.size(); ++i)
    runs.push_back({"new", static_cast<std::int64_t>(i + 1), {{"loss", arm[i]}}, {}});
  // In another order: pairs are found by seed.
  for (std::size_t i = against.size(); i-- > 0;) {
    runs.push_back({"old", static_cast<std::int64_t>(i + 1), {{"loss", against[i]}}, {}});
  }
  return runs;
}

Claim claim_of(Claim::Kind kind, double margin) {
  Claim claim;
  claim.arm = "new", claim.against = "old", claim.metric = "loss", claim.kind = kind, claim.margin = margin;
  return claim;
}

Verdict verdict_of(const Claim& claim, const std::vector<double>& arm, const std::vector<double>& against) {
  return decide({claim}, runs_of(arm, against)).front().verdict;
}

const std::vector<double> kOld = {2.0, 2.1, 1.9, 2.2, 2.05};
const std::vector<double> kLower = {1.9, 2.01, 1.79, 2.11, 1.95};  // 0.098 less, closely
const std::vector<double> kNoisy = {1.7, 2.3, 1.6, 2.4, 2.0};      // less, who knows

TEST(Verdict, DirectionsNeedTheIntervalAndTheSmallestEffect) {
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kLess, 0.05), kLower, kOld), Verdict::kHeld);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kLess, 0.3), kLower, kOld), Verdict::kContradicted);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kLess, 0.1), kLower, kOld), Verdict::kInconclusive);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kGreater, 0.0), kLower, kOld), Verdict::kContradicted);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kLess, 0.0), kNoisy, kOld), Verdict::kInconclusive);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kGreater, 0.05), kOld, kLower), Verdict::kHeld);
}

TEST(Verdict, NoWorseAndEquivalentAreTestsOfTheMargin) {
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kNoWorse, 0.01), kLower, kOld), Verdict::kHeld);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kNoWorse, 0.2), kOld, kLower), Verdict::kHeld);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kNoWorse, 0.05), kOld, kLower), Verdict::kContradicted);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kNoWorse, 0.01), kNoisy, kOld), Verdict::kInconclusive);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kEquivalent, 0.2), kLower, kOld), Verdict::kHeld);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kEquivalent, 0.05), kLower, kOld), Verdict::kContradicted);
  EXPECT_EQ(verdict_of(claim_of(Claim::Kind::kEquivalent, 0.2), kNoisy, kOld), Verdict::kInconclusive);
}

TEST(Verdict, RelativeDifferencesAreSharesOfTheBaseline) {
  Claim claim = claim_of(Claim::Kind::kLess, 0.0);
  claim.relative = true;
  const ClaimOutcome out = decide({claim}, runs_of({1.0, 3.0}, {2.0, 4.0})).front();
  EXPECT_EQ(out.differences, (std::vector<double>{-0.5, -0.25}));
  EXPECT_EQ(out.arm_mean, 2.0);
  EXPECT_EQ(out.against_mean, 3.0);
}

TEST(Verdict, OnlyPairsCountAndOneIsNotTested) {
  const ClaimOutcome out = decide({claim_of(Claim::Kind::kLess, 0.0)}, runs_of(kLower, {2.0})).front();
  EXPECT_EQ(out.verdict, Verdict::kNotTested);
  EXPECT_EQ(out.differences.size(), 1u);
  EXPECT_EQ(decide({claim_of(Claim::Kind::kLess, 0.0)}, {}).front().verdict, Verdict::kNotTested);
}

TEST(Verdict, AFamilyOfClaimsIsCorrected) {
  const Claim claim = claim_of(Claim::Kind::kLess, 0.0);
  const std::vector<RunMetrics> runs = runs_of({1.9, 1.95, 1.85, 2.17, 2.03}, kOld);
  EXPECT_EQ(decide({claim}, runs).front().verdict, Verdict::kHeld);
  const std::vector<ClaimOutcome> many = decide({claim, claim, claim, claim, claim}, runs);
  EXPECT_GT(many.front().adjusted_p, 0.05);
  EXPECT_EQ(many.front().verdict, Verdict::kInconclusive);
}

TEST(Verdict, TokensOfTwoArmsAreCorrelated) {
  std::vector<RunMetrics> runs;
  for (std::int64_t seed = 1; seed <= 3; ++seed) {
    runs.push_back({"top-1", seed, {}, {{"loss", {1, 2, 3, 4, static_cast<double>(seed)}}}});
    runs.push_back({"top-p", seed, {}, {{"experts", {1, 2, 3, 4, 4}}}});
  }
  Claim claim;
  claim.arm = "top-p", claim.metric = "experts", claim.correlate = "top-1", claim.correlate_metric = "loss";
  claim.kind = Claim::Kind::kGreater;
  const ClaimOutcome out = decide({claim}, runs).front();
  ASSERT_EQ(out.differences.size(), 3u);
  EXPECT_EQ(out.differences[2], spearman(std::vector<double>{1, 2, 3, 4, 4}, std::vector<double>{1, 2, 3, 4, 3}));
  EXPECT_EQ(out.verdict, Verdict::kHeld);
}

}  // namespace
}  // namespace junto
