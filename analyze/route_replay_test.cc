#include "analyze/route_replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "analyze/test_traces.h"
#include "base/error.h"
#include "model/decoder.h"

namespace junto {
namespace {

std::shared_ptr<Model> test_model() {
  return load_model(std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/olmoe");
}

struct Fed {
  RouteTrace trace;           // what was routed
  std::vector<float> logits;  // of the last token
  std::int64_t slots = 0;     // computed
};

Fed feed(const std::shared_ptr<Model>& model, const std::vector<std::int32_t>& ids, int chunk, RouteReplay* replay) {
  ThreadPool pool(1);
  Decoder decoder(model, pool);
  RouteRecorder recorder(model->config);
  Hooks hooks = recorder.hooks();
  if (replay) {
    const Hooks edits = replay->hooks();
    hooks.edit_points = edits.edit_points;
    hooks.edit_plan = edits.edit_plan;
  }
  Sequence sequence;
  const auto logits = decoder.feed(sequence, ids, chunk, &hooks);
  return {
      make_trace(recorder, model->config, ids, {0}), {logits.begin(), logits.end()}, decoder.counters().routed_slots};
}

TEST(RouteReplay, ARecordedTraceGivesTheSameLogits) {
  const auto model = test_model();
  const std::vector<std::int32_t> ids = {5, 17, 40, 3, 9};
  const Fed recorded = feed(model, ids, 0, nullptr);
  for (const int chunk : {0, 2, 1}) {
    RouteReplay replay(recorded.trace, model->config, "t");
    const Fed replayed = feed(model, ids, chunk, &replay);
    EXPECT_EQ(replayed.logits, recorded.logits) << chunk;
    EXPECT_EQ(replay.next_token(), 0);  // all were used: the first comes again
  }
}

TEST(RouteReplay, RowsTakeTheTracesTokensAndBeginAgain) {
  const auto model = test_model();
  const RouteTrace trace = trace_of_ids(16, {{{1, 2}, {3}}, {{4, 5}, {}}, {{6, 7}, {8}}});
  RouteReplay replay(trace, model->config, "t");
  const Fed replayed = feed(model, {5, 17, 40}, 2, &replay);
  for (std::size_t l = 0; l < 3; ++l) {
    const RoutePlan &seen = replayed.trace.layers[l].plan, &given = trace.layers[l].plan;
    for (const std::int64_t t : {0, 1, 2}) {
      EXPECT_TRUE(std::ranges::equal(seen.experts_of(t), given.experts_of(t % 2))) << l << " " << t;
    }
  }
  EXPECT_EQ(replayed.slots, (2 + 1 + 2) + (2 + 0 + 2) + (2 + 1 + 2));
  EXPECT_EQ(replay.next_token(), 1);
}

TEST(RouteReplay, TracesOfOtherShapesAreRefused) {
  const auto model = test_model();
  const auto refusal = [&](RouteTrace trace) -> std::string {
    try {
      RouteReplay(std::move(trace), model->config, "t");
      return "accepted";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(refusal(trace_of_ids(16, {{{1}}, {{1}}})), "t: has 2 routed layers, the model has 3");
  EXPECT_EQ(refusal(trace_of_ids(8, {{{1}}, {{1}}, {{1}}})), "t: layer 0 has 8 experts, the model's layer 0 has 16");
  EXPECT_EQ(refusal(trace_of_ids(16, {{}, {}, {}})), "t: has no tokens");
  RouteTrace rounds = trace_of_ids(16, {{{1}}, {{1}}, {{1}}, {{1}}});
  rounds.layers[1].layer = 0;
  rounds.layers[1].round = 1;
  EXPECT_EQ(refusal(rounds), "t: layer 0 has 2 rounds, the model's layer 0 has 1");
}

}  // namespace
}  // namespace junto
