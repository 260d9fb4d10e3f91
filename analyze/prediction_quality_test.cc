#include "analyze/prediction_quality.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "analyze/generate_trace.h"
#include "analyze/test_traces.h"
#include "analyze/traced_stages.h"
#include "base/error.h"
#include "format/test_directory.h"
#include "model/test_path_predictor.h"

namespace junto {
namespace {

TEST(PredictionQuality, TheOracleIsRightAndEveryRuleGuessesAsManyBytes) {
  const RouteTrace trace =
      generate_trace(make_trace_shape(4, 16, 3, 1000), parse_trace_recipe("zipf:1,repeat:0.5", "r"), 300, 5);
  for (const NamedPrefetch& named : all_prefetch_rules()) {
    if (named.rule == Prefetch::kNone || goes_by_scores(named.rule)) continue;
    const PredictionQuality found = measure_prediction(trace, named.rule, nullptr, 100);
    EXPECT_EQ(found.guessed, 200 * 4 * 3) << named.name;
    EXPECT_EQ(found.asked, 200 * 4 * 3) << named.name;
    EXPECT_EQ(found.guessed_bytes, 200.0 * 4 * 3 * 1000) << named.name;
    EXPECT_EQ(found.recall(), found.precision()) << named.name;
    if (named.rule.rule == Prefetch::kOracle) {
      EXPECT_EQ(found.right, found.asked) << named.name;
    } else {
      EXPECT_LT(found.right, found.asked) << named.name;
    }
  }
}

TEST(PredictionQuality, ATableKnowsWhatFollowsWhatNothingElseDoes) {
  // The second layer takes the expert after the first one's, the third the one after that; tokens choose at random.
  RouteTrace trace = generate_trace(make_trace_shape(3, 16, 1, 0), {}, 400, 1);
  for (std::size_t l = 1; l < 3; ++l) {
    for (std::size_t i = 0; i < trace.layers[l].plan.expert.size(); ++i) {
      trace.layers[l].plan.expert[i] = (trace.layers[l - 1].plan.expert[i] + 1) % 16;
    }
  }
  const auto recall = [&](PrefetchRule rule, const std::shared_ptr<const PastRoutes>& learned = nullptr) {
    return measure_prediction(trace, rule, learned, learned ? 0 : 200).recall();
  };
  const auto itself = std::make_shared<const PastRoutes>(past_routes_of(trace));
  EXPECT_GT(recall(Prefetch::kTable), 2.0 / 3);       // two layers of three
  EXPECT_GT(recall({Prefetch::kTable, 2}), 1.0 / 3);  // the third layer by the first
  EXPECT_LT(recall({Prefetch::kTable, 2}), 1.0 / 2);
  EXPECT_LT(recall(Prefetch::kFrequency), 0.2);
  EXPECT_LT(recall(Prefetch::kPreviousToken), 0.2);
  EXPECT_GT(recall(Prefetch::kTable, itself), 2.0 / 3);  // from the first token on
}

// As many guesses as of the other rules; what they are worth follows from the predictor, whose weights are random here.
TEST(PredictionQuality, APredictorOfPathsSaysAllStagesOfATokenBeforeItsFirst) {
  RouteTrace trace = generate_trace(make_trace_shape(3, 8, 2, 1000), {}, 60, 1);
  for (std::size_t t = 0; t < trace.token.size(); ++t) trace.token[t] = static_cast<std::int32_t>(t * 7 % 30);
  const TestDirectory directory;
  write_path_predictor(directory.path("paths.gguf"), {8, 8, 8}, 30);
  ThreadPool pool(1);
  PathPredictor paths(load_path_predictor(directory.path("paths.gguf")), pool);
  const PredictionQuality before = measure_prediction(trace, Prefetch::kPath, nullptr, 10, &paths);
  EXPECT_EQ(before.guessed, 50 * 3 * 2);
  EXPECT_LT(before.right, before.asked);
  // A trace of what it says is guessed whole.
  for (std::int64_t t = 0; t < trace.tokens(); ++t) {
    const auto chances = paths.predict(std::span(trace.token).first(static_cast<std::size_t>(t) + 1));
    for (std::size_t s = 0; s < 3; ++s) {
      std::vector<std::int32_t> ids = {0, 1, 2, 3, 4, 5, 6, 7};
      std::ranges::stable_sort(ids, std::greater(),
                               [&](std::int32_t e) { return chances[s * 8 + static_cast<std::size_t>(e)]; });
      std::copy_n(ids.begin(), 2, trace.layers[s].plan.expert.begin() + t * 2);
    }
  }
  EXPECT_EQ(measure_prediction(trace, Prefetch::kPath, nullptr, 1, &paths).recall(), 1.0);
  EXPECT_THROW(measure_prediction(trace, Prefetch::kPath), Error);
  const RouteTrace other = generate_trace(make_trace_shape(2, 8, 2, 1000), {}, 60, 1);
  EXPECT_THROW(measure_prediction(other, Prefetch::kPath, nullptr, 0, &paths), Error);
}

TEST(PredictionQuality, RefusesWhatNeedsAModelAndOtherRouters) {
  const RouteTrace trace = trace_of_ids(4, {{{0}}, {{1}}});
  EXPECT_THROW(measure_prediction(trace, Prefetch::kNextRouter), Error);
  const auto other = std::make_shared<const PastRoutes>(past_routes_of(trace_of_ids(5, {{{0}}, {{1}}})));
  EXPECT_THROW(measure_prediction(trace, Prefetch::kTable, other), Error);
}

}  // namespace
}  // namespace junto
