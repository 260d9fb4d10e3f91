#include "moe/predictor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/error.h"

namespace junto {
namespace {

using Ids = std::vector<std::int32_t>;

// Of a model whose second layer has no experts: stage 0 is layer 0, stage 1 layer 2.
Ids guess(Prefetch rule, std::size_t count, std::span<const float> scores = {}) {
  Predictor predictor(rule, ExpertStages({4, 0, 4}));
  predictor.used(0, Ids{0, 3});
  predictor.used(1, Ids{1, 2});
  predictor.used(0, Ids{3});
  predictor.used(1, Ids{0, 2});
  predictor.used(0, Ids{1, 3});
  Ids out = {9};
  predictor.predict(1, count, scores, out);
  return out;
}

TEST(Predictor, EachRuleGuessesWhatItSays) {
  const float scores[] = {0.0f, 0.1f, 0.7f, 0.2f};
  EXPECT_EQ(guess(Prefetch::kNone, 4, scores), Ids());
  EXPECT_EQ(guess(Prefetch::kPreviousToken, 4, scores), (Ids{0, 2}));
  EXPECT_EQ(guess(Prefetch::kPreviousLayer, 4, scores), (Ids{1, 3}));
  EXPECT_EQ(guess(Prefetch::kNextRouter, 2, scores), (Ids{2, 3}));
  EXPECT_EQ(guess(Prefetch::kNextRouter, 4, {}), Ids());
  EXPECT_EQ(guess(Prefetch::kPath, 3, scores), (Ids{2, 3, 1}));
  EXPECT_EQ(guess(Prefetch::kFrequency, 4, scores), (Ids{2, 0, 1}));
  EXPECT_EQ(guess(Prefetch::kFrequency, 1, scores), (Ids{2}));
  EXPECT_EQ(guess(Prefetch::kTable, 2, scores), (Ids{2, 0}));  // 3 was followed by 1, 2 and by 0, 2, and alone by these
  EXPECT_EQ(guess(Prefetch::kOracle, 4, scores), Ids());       // it was told nothing
}

/// Four experts a stage, three stages; token t asks stage s for expert (t + s) % 4.
std::shared_ptr<const PastRoutes> rotating_routes(int tokens) {
  PastRoutes past{{4, 4, 4}, {}};
  for (int t = 0; t < tokens; ++t) {
    for (int s = 0; s < 3; ++s) past.asked.push_back({(t + s) % 4});
  }
  return std::make_shared<const PastRoutes>(std::move(past));
}

TEST(Predictor, ATableLearnsFromATraceAndFromWhatRuns) {
  const auto past = rotating_routes(40);
  for (const int ahead : {1, 2}) {
    Predictor taught({Prefetch::kTable, ahead}, ExpertStages({4, 4, 4}), past),
        untaught({Prefetch::kTable, ahead}, ExpertStages({4, 4, 4}));
    Ids out;
    taught.used(0, Ids{2});
    EXPECT_EQ(taught.target(0), ahead);
    taught.predict(ahead, 1, {}, out);
    EXPECT_EQ(out, Ids{(2 + ahead) % 4});
    untaught.used(0, Ids{2});
    untaught.predict(ahead, 1, {}, out);
    EXPECT_EQ(out, Ids());
    for (int t = 0; t < 40; ++t) {
      for (int s = 0; s < 3; ++s) untaught.used(s, past->asked_by(t, s));
    }
    EXPECT_EQ(untaught.target(2), ahead - 1);  // of the next token, whose experts are one further
    untaught.predict(ahead - 1, 1, {}, out);
    EXPECT_EQ(out, Ids{(39 + 1 + ahead - 1) % 4});
  }
}

TEST(Predictor, AnOracleFollowsChunksOfRowsAndBeginsAgain) {
  Predictor oracle(Prefetch::kOracle, ExpertStages({4, 4, 4}), rotating_routes(5));
  Ids out;
  oracle.used(0, Ids{0, 1}, 2);  // tokens 0 and 1
  oracle.predict(1, 4, {}, out);
  EXPECT_EQ(out, (Ids{1, 2}));
  oracle.used(1, Ids{1, 2}, 2);
  oracle.used(2, Ids{2, 3}, 2);
  oracle.predict(0, 4, {}, out);  // of token 2
  EXPECT_EQ(out, Ids{2});
  for (const int token : {2, 3, 4}) {
    for (int s = 0; s < 3; ++s) oracle.used(s, Ids{(token + s) % 4});
  }
  oracle.predict(0, 4, {}, out);
  EXPECT_EQ(out, Ids{0});  // token 0 again
  oracle.used(0, Ids{0});
  oracle.predict(2, 4, {}, out);
  EXPECT_EQ(out, Ids{2});
}

TEST(Predictor, NoStageIsGuessedFurtherAheadThanATokenHas) {
  EXPECT_EQ(Predictor(Prefetch::kFrequency, ExpertStages({4, 0, 4})).target(0), 1);
  EXPECT_EQ(Predictor(Prefetch::kFrequency, ExpertStages({4, 0, 4})).target(1), 0);
  EXPECT_EQ(Predictor(Prefetch::kFrequency, ExpertStages({4})).target(0), -1);
  EXPECT_EQ(Predictor({Prefetch::kTable, 2}, ExpertStages({4, 4})).target(0), -1);
  EXPECT_EQ(Predictor({Prefetch::kTable, 2}, ExpertStages({4}, {3})).target(0), 2);  // rounds
}

TEST(Predictor, NamesComeBackAndAnUnknownOneNamesThoseThereAre) {
  for (const NamedPrefetch& named : all_prefetch_rules()) {
    EXPECT_EQ(prefetch_name(parse_prefetch(named.name)), named.name);
  }
  EXPECT_EQ(parse_prefetch("table:2"), PrefetchRule(Prefetch::kTable, 2));
  try {
    parse_prefetch("table:3", "--predict");
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              "--predict: is table:3, expected none, next-router, next-router:2, table, table:2, path, path:2, "
              "previous-token, previous-layer, frequency, oracle or oracle:2");
  }
}

}  // namespace
}  // namespace junto
