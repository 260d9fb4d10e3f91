#include "analyze/simulate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "analyze/generate_trace.h"
#include "analyze/prediction_quality.h"
#include "analyze/test_traces.h"
#include "base/error.h"

namespace junto {
namespace {

constexpr std::int64_t kExpertBytes = 3000;

SimulatedMachine machine() {
  return {.disk_bytes_per_s = 1000, .latency_s = 0, .dense_s = 0, .expert_s = 0, .arrive_s = 0, .reads = 4};
}

SimulationResult run(const RouteTrace& trace, const SimulatedMachine& on, Evict evict, std::int64_t slots,
                     std::int64_t warm_up = 0) {
  return simulate(trace, on, {evict, slots, warm_up, trace.tokens() - warm_up}, kExpertBytes, popularity_of(trace));
}

TEST(Simulate, WhatIsInMemoryTakesItsComputeTime) {
  const RouteTrace trace = trace_of_ids(4, {{{0, 1}, {0, 1}, {1, 0}}, {{2, 3}, {3, 2}, {2, 3}}});
  SimulatedMachine on = machine();
  on.dense_s = 0.5;
  on.expert_s = 0.25;
  const SimulationResult result = run(trace, on, Evict::kLru, 4, 1);
  EXPECT_EQ(result.tokens, 2);
  EXPECT_EQ(result.hits, 8);
  EXPECT_EQ(result.misses, 0);
  EXPECT_DOUBLE_EQ(result.bytes_read, 0);
  EXPECT_NEAR(result.seconds, 2 * (0.5 + 4 * 0.25), 1e-9);
  EXPECT_NEAR(result.stall_s, 0, 1e-9);
}

TEST(Simulate, MissesTakeTheDisksTimeAndComputeWhileOthersArrive) {
  const RouteTrace trace = trace_of_ids(4, {{{0, 1}}});
  SimulatedMachine on = machine();
  on.reads = 3;  // the matrices of one expert
  on.expert_s = 1;
  // Two experts of 3 s of disk each; the first computes while the second is read, then that one.
  SimulationResult result = run(trace, on, Evict::kLru, 4);
  EXPECT_NEAR(result.seconds, 3 + 3 + 1, 1e-6);
  EXPECT_NEAR(result.stall_s, 3 + 2, 1e-6);
  EXPECT_DOUBLE_EQ(result.bytes_read, 2 * kExpertBytes);
  on.latency_s = 0.5;  // all but the first reads wait theirs while the disk serves others
  EXPECT_NEAR(run(trace, on, Evict::kLru, 4).seconds, 7 + 0.5, 1e-6);
}

TEST(Simulate, ArrivalsShareTheCoresWithWhatComputes) {
  SimulatedMachine on = machine();
  on.disk_bytes_per_s = 1e12;
  on.arrive_s = 3;
  on.matrices = 1;
  on.cores = 1;
  EXPECT_NEAR(run(trace_of_ids(4, {{{0, 1}}}), on, Evict::kLru, 4).seconds, 6, 1e-5);  // core seconds
  on.cores = 2;
  EXPECT_NEAR(run(trace_of_ids(4, {{{0, 1}}}), on, Evict::kLru, 4).seconds, 3, 1e-5);
  // Both arrive at 3; then there is only computing. With one core and an expert in memory that computes for 4 s, the
  // arrival has half of the core for 6 s: 3 + 4 in all, and then its own 4.
  on.cores = 1;
  on.expert_s = 4;
  EXPECT_NEAR(run(trace_of_ids(4, {{{0}, {0, 1}}}), on, Evict::kLru, 4, 1).seconds, 3 + 4 + 4, 1e-5);
}

TEST(Simulate, EveryPartOfAMillisecondCounts) {
  SimulatedMachine on = machine();
  on.disk_bytes_per_s = 1e9;
  on.matrices = 1;
  on.cores = 4;
  on.latency_s = 4e-6;
  on.arrive_s = 5e-6;
  on.expert_s = 7e-6;
  EXPECT_NEAR(run(trace_of_ids(4, {{{0}}}), on, Evict::kLru, 4).seconds, 3e-6 + 4e-6 + 5e-6 + 7e-6, 1e-10);
}

TEST(Simulate, OneSlotStillComputesAll) {
  const RouteTrace trace = trace_of_ids(4, {{{0, 1, 2}, {2, 1, 0}}});
  for (const Evict evict : kAllEvictions) {
    const SimulationResult result = run(trace, machine(), evict, 1);
    EXPECT_EQ(result.hits + result.misses, 6) << evict_name(evict);
    EXPECT_NEAR(result.seconds, 3 * static_cast<double>(result.misses), 1e-5) << evict_name(evict);
  }
}

/// Misses of evicting the least recently used, one expert a token: counted plainly.
std::int64_t plain_lru_misses(const RouteTrace& trace, std::size_t slots) {
  std::vector<std::pair<std::size_t, std::int32_t>> in;  // least recent first
  std::int64_t misses = 0;
  for (std::int64_t t = 0; t < trace.tokens(); ++t) {
    for (std::size_t l = 0; l < trace.layers.size(); ++l) {
      const std::pair key(l, trace.layers[l].plan.experts_of(t)[0]);
      const auto found = std::ranges::find(in, key);
      if (found != in.end()) {
        in.erase(found);
      } else {
        ++misses;
        if (in.size() == slots) in.erase(in.begin());
      }
      in.push_back(key);
    }
  }
  return misses;
}

TEST(Simulate, LruMissesAreThoseOfAPlainCount) {
  const RouteTrace trace = generate_trace(make_trace_shape(3, 16, 1, kExpertBytes), {1, 0.3}, 400, 1);
  for (const std::int64_t slots : {1, 2, 7, 20, 40}) {
    EXPECT_EQ(run(trace, machine(), Evict::kLru, slots).misses,
              plain_lru_misses(trace, static_cast<std::size_t>(slots)))
        << slots;
  }
}

TEST(Simulate, NoPolicyMissesLessThanBelady) {
  for (const char* recipe : {"uniform", "zipf:1", "zipf:1,repeat:0.5", "repeat:0.8"}) {
    const RouteTrace trace =
        generate_trace(make_trace_shape(3, 16, 4, kExpertBytes), parse_trace_recipe(recipe, "r"), 300, 2);
    for (const std::int64_t slots : {12, 20, 30, 40}) {
      const std::int64_t least = run(trace, machine(), Evict::kBelady, slots).misses;
      for (const Evict evict : kAllEvictions) {
        EXPECT_LE(least, run(trace, machine(), evict, slots).misses) << recipe << " " << slots << evict_name(evict);
      }
    }
  }
}

TEST(Simulate, StaticKeepsTheMostUsed) {
  // 0 and 1 are used most; with three slots they stay and 2 and 3 take turns.
  const RouteTrace trace = trace_of_ids(4, {{{0}, {1}, {2}, {0}, {3}, {1}, {2}, {0}, {1}, {3}, {0}, {1}}});
  EXPECT_EQ(run(trace, machine(), Evict::kStatic, 3).misses, 2 + 4);
}

TEST(Simulate, RoundsOfALayerShareItsExperts) {
  // The second round asks for what the first one asked for: one read serves both.
  RouteTrace trace = trace_of_ids(4, {{{0}, {1}}, {{0}, {1}}});
  trace.layers[1].layer = 0;
  trace.layers[1].round = 1;
  EXPECT_EQ(experts_of(trace), 4);
  EXPECT_EQ(popularity_of(trace), (std::vector<double>{2, 2, 0, 0}));
  for (const Evict evict : kAllEvictions) {
    const SimulationResult result = run(trace, machine(), evict, 2);
    EXPECT_EQ(result.misses, 2) << evict_name(evict);
    EXPECT_EQ(result.hits, 2) << evict_name(evict);
  }
}

TEST(Simulate, PoliciesThatLookAheadReadLessWhereReuseAndSkewMix) {
  const RouteTrace trace =
      generate_trace(make_trace_shape(6, 32, 4, kExpertBytes), parse_trace_recipe("zipf:1,repeat:0.5", "r"), 600, 3);
  for (const Evict ahead : {Evict::kLayer, Evict::kPredicted}) {
    const std::int64_t found = run(trace, machine(), ahead, 60, 200).misses;
    for (const Evict evict : {Evict::kLru, Evict::kLfu, Evict::kLifo, Evict::kStatic}) {
      EXPECT_LT(found, run(trace, machine(), evict, 60, 200).misses) << evict_name(ahead) << " " << evict_name(evict);
    }
  }
}

SimulatedRun guessing(const RouteTrace& trace, PrefetchRule rule, std::int64_t slots) {
  SimulatedRun run{Evict::kLru, slots, 0, trace.tokens()};
  run.prefetch = rule;
  return run;
}

TEST(Simulate, ARightGuessIsReadWhileItsStageIsStillToCome) {
  // Three layers whose experts are never used again: each of the 12 is read, 3 s each, and computes for 5 s.
  const RouteTrace trace = trace_of_ids(4, {{{0}, {1}, {2}, {3}}, {{0}, {1}, {2}, {3}}, {{0}, {1}, {2}, {3}}});
  SimulatedMachine on = machine();
  on.expert_s = 5;
  const SimulationResult none = simulate(trace, on, guessing(trace, Prefetch::kNone, 12), kExpertBytes, {});
  EXPECT_NEAR(none.seconds, 12 * (3 + 5), 1e-6);
  const SimulationResult all = simulate(trace, on, guessing(trace, Prefetch::kOracle, 12), kExpertBytes, {});
  EXPECT_EQ(all.prefetch_hits, 11);
  EXPECT_EQ(all.hits, 11);
  EXPECT_EQ(all.misses, 1);
  EXPECT_NEAR(all.seconds, 3 + 12 * 5, 1e-6);
  EXPECT_NEAR(all.stall_s, 3, 1e-6);
  on.expert_s = 1;  // less than reading takes: guesses are late, and half the stall is saved by what computes meanwhile
  const SimulationResult late = simulate(trace, on, guessing(trace, Prefetch::kOracle, 12), kExpertBytes, {});
  EXPECT_EQ(late.late_prefetches, 11);
  EXPECT_EQ(late.hits, 0);
  EXPECT_NEAR(late.seconds, 12 * 3 + 1, 1e-6);
  EXPECT_DOUBLE_EQ(late.recall(), 1);
  EXPECT_DOUBLE_EQ(late.precision(), 1);
}

TEST(Simulate, GuessesAreTheRunningCachesAndMoveBytesOnly) {
  const RouteTrace trace =
      generate_trace(make_trace_shape(4, 16, 2, kExpertBytes), parse_trace_recipe("zipf:1,repeat:0.5", "r"), 300, 4);
  SimulatedMachine on = machine();
  on.disk_bytes_per_s = 1e6;
  on.expert_s = 1e-3;
  for (const NamedPrefetch& named : all_prefetch_rules()) {
    if (named.rule.rule == Prefetch::kPath) continue;
    SimulatedRun run = guessing(trace, named.rule, 24);
    run.router_recall = 0.7;
    const SimulationResult found = simulate(trace, on, run, kExpertBytes, {});
    EXPECT_EQ(found.hits + found.misses, 300 * 4 * 2) << named.name;
    EXPECT_LE(found.prefetch_hits, found.hits) << named.name;
    EXPECT_LE(found.late_prefetches, found.misses) << named.name;
    EXPECT_EQ(found.guessed > 0, named.rule.rule != Prefetch::kNone) << named.name;
    if (named.rule.rule == Prefetch::kOracle) {
      EXPECT_EQ(found.guessed_right, found.guessed) << named.name;
    }
    if (named.rule.rule == Prefetch::kNextRouter) {
      EXPECT_NEAR(found.recall(), 0.7, 0.03) << named.name;
    }
    // The same guesses as without a clock.
    if (named.rule.rule == Prefetch::kTable || named.rule.rule == Prefetch::kPreviousToken) {
      const PredictionQuality alone = measure_prediction(trace, named.rule);
      EXPECT_NEAR(found.recall(), alone.recall(), 0.002) << named.name;
    }
  }
}

TEST(Simulate, SequencesSideBySideAskForWhatAnyOfThemChose) {
  RouteTrace trace = trace_of_ids(4, {{{0}, {1}, {1}, {1}, {2}, {1}}});
  trace.sequence_begin = {0, 3};
  SimulatedMachine on = machine();
  on.expert_s = 1;
  SimulatedRun run{Evict::kLru, 4, 0, 6};
  run.sequences = 2;  // {0, 1}, {1, 2}, {1, 1}
  const SimulationResult found = simulate(trace, on, run, kExpertBytes, {});
  EXPECT_EQ(found.tokens, 6);
  EXPECT_EQ(found.hits, 2);
  EXPECT_EQ(found.misses, 3);
  run.evict = Evict::kBelady;
  run.slots = 2;
  EXPECT_EQ(simulate(trace, on, run, kExpertBytes, {}).misses, 3);
  run.tokens = 7;
  EXPECT_THROW(simulate(trace, on, run, kExpertBytes, {}), Error);
}

TEST(Simulate, RefusesGuessesThatNobodyCanMake) {
  const RouteTrace trace = trace_of_ids(4, {{{0}}, {{0}}});
  for (const PrefetchRule rule : {PrefetchRule(Prefetch::kNextRouter), PrefetchRule(Prefetch::kPath)}) {
    EXPECT_THROW(simulate(trace, machine(), guessing(trace, rule, 8), 1, {}), Error);
  }
  SimulatedRun run = guessing(trace, Prefetch::kTable, 8);
  run.learned = std::make_shared<const PastRoutes>(PastRoutes{{5, 5}, {}});
  EXPECT_THROW(simulate(trace, machine(), run, 1, {}), Error);
}

TEST(Simulate, RefusesWhatDoesNotFit) {
  const RouteTrace trace = trace_of_ids(4, {{{0}}});
  EXPECT_THROW(simulate(trace, machine(), {Evict::kLru, 0, 0, 1}, 1, {}), Error);
  EXPECT_THROW(simulate(trace, machine(), {Evict::kLru, 1, 0, 2}, 1, {}), Error);
  EXPECT_THROW(simulate(trace, machine(), {Evict::kStatic, 1, 0, 1}, 1, {1, 2}), Error);
}

}  // namespace
}  // namespace junto
