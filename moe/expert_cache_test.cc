// Experts read through slots: each has the bytes of a resident one, whatever goes wrong on the way.
#include "moe/expert_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <set>
#include <thread>
#include <utility>

#include "base/error.h"
#include "moe/test_random_linear.h"

namespace junto {
namespace {

constexpr int kLayers = 3, kExperts = 6;
constexpr std::int64_t kHidden = 64, kWidth = 32;
constexpr std::size_t kFileBegin = 777;  // nothing is aligned

enum class Fault { kNone, kError, kShort, kStall };

/// A file in memory that misbehaves when told to.
struct FakeFile {
  std::vector<std::byte> bytes;
  std::atomic<Fault> fault = Fault::kNone;
  std::atomic<int> good_reads_left = 0;  // before the fault
};

class FakeReader : public BlockReader {
 public:
  explicit FakeReader(FakeFile& file) : file_(file) {}
  std::size_t read(std::uint64_t offset, std::span<std::byte> to) override {
    EXPECT_EQ(offset % kDirectAlignment, 0u);
    EXPECT_EQ(to.size() % kDirectAlignment, 0u);
    const std::size_t left = offset < file_.bytes.size() ? file_.bytes.size() - offset : 0;
    std::size_t count = std::min(left, to.size());
    const Fault fault = file_.fault;
    if (fault != Fault::kNone && file_.good_reads_left-- <= 0) {
      if (fault == Fault::kError) fail("fake.gguf", "cannot read at byte " + std::to_string(offset) + ": I/O error");
      if (fault == Fault::kShort) count = std::min<std::size_t>(count, 100);
      if (fault == Fault::kStall) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (count > 0) std::memcpy(to.data(), file_.bytes.data() + offset, count);
    return count;
  }

 private:
  FakeFile& file_;
};

/// Layers of experts whose matrices stand one after the other in a fake file, as a GGUF file has them.
class ExpertCacheTest : public testing::Test {
 protected:
  ExpertCacheTest() {
    std::mt19937 random(7);
    for (auto& layer : experts_) {
      for (ExpertWeights& expert : layer) {
        expert.up = random_linear(DType::kQ8_0, kWidth, kHidden, random);
        expert.gate = random_linear(DType::kQ4_0, kWidth, kHidden, random);
        expert.down = random_linear(DType::kF16, kHidden, kWidth, random);
      }
    }
  }

  std::unique_ptr<ExpertCache> make_cache(std::int64_t budget, Evict evict = Evict::kLfu, PrefetchRule prefetch = {}) {
    file_.bytes.assign(kFileBegin, std::byte{});
    stored_bytes_ = 0;
    std::vector<std::vector<ExpertPlace>> places(kLayers);
    for (int l = 0; l < kLayers; ++l) {
      for (const ExpertWeights& expert : experts_[l]) {
        ExpertPlace& place = places[l].emplace_back();
        place.weights = &expert;
        for (const Linear* linear : {&expert.gate, &expert.up, &expert.down}) {
          place.places.push_back({linear->weights, 0, file_.bytes.size()});
          const WeightMatrix& w = linear->weights;
          file_.bytes.insert(file_.bytes.end(), w.data, w.data + w.bytes());
          if (l == 0 && &expert == &experts_[0][0]) stored_bytes_ += static_cast<std::int64_t>(w.bytes());
        }
      }
    }
    std::vector<std::unique_ptr<BlockReader>> readers;
    readers.push_back(std::make_unique<FakeReader>(file_));
    ExpertCacheOptions options;
    options.budget_bytes = budget;
    options.evict = evict;
    options.prefetch = prefetch;
    options.rounds = rounds_;
    return std::make_unique<ExpertCache>(std::move(places), std::move(readers), options, "fake.gguf");
  }

  std::int64_t bytes_of_slots(int slots) {
    return static_cast<std::int64_t>(make_cache(1 << 24)->slot_bytes()) * slots;
  }

  /// Every expert that is asked for computes once, with the weights that it has in memory. `next`: scores of the layer
  /// after.
  void expect_right(ExpertCache& cache, ExpertStage stage, std::vector<std::int32_t> ids,
                    std::vector<float> next = {}) {
    const int layer = stage.layer;
    std::vector<std::int32_t> computed;
    cache.run(
        stage, ids,
        [&](std::span<const std::int32_t> ready) {
          for (const std::int32_t e : ready) {
            const ExpertWeights& wanted = experts_[layer][e];
            const ExpertWeights& found = *cache.expert(layer, e);
            EXPECT_EQ(decoded(found.gate.weights), decoded(wanted.gate.weights));
            EXPECT_EQ(decoded(found.up.weights), decoded(wanted.up.weights));
            EXPECT_EQ(decoded(found.down.weights), decoded(wanted.down.weights));
            computed.push_back(e);
          }
        },
        [&](ExpertStage) { return std::span<const float>(next); });
    std::ranges::sort(computed);
    EXPECT_EQ(computed, ids);
  }

  std::vector<std::int32_t> some_experts(std::mt19937& random) {
    std::set<std::int32_t> ids;
    while (ids.size() < 3) ids.insert(static_cast<std::int32_t>(random() % kExperts));
    return {ids.begin(), ids.end()};
  }

  ExpertWeights experts_[kLayers][kExperts];
  FakeFile file_;
  std::vector<int> rounds_;        // [layers]; empty: one each
  std::int64_t stored_bytes_ = 0;  // of one expert
};

TEST_F(ExpertCacheTest, AnyBudgetAndPolicyGivesTheStoredWeights) {
  for (const Evict evict : {Evict::kLru, Evict::kLfu, Evict::kLifo, Evict::kLayer, Evict::kPredicted}) {
    for (const int slots : {1, 2, 3, 7, kLayers * kExperts}) {
      const auto cache = make_cache(bytes_of_slots(slots), evict);
      ASSERT_EQ(cache->slots(), slots);
      std::mt19937 random(3);
      for (int token = 0; token < 12; ++token) {
        for (int layer = 0; layer < kLayers; ++layer) expect_right(*cache, layer, some_experts(random));
      }
      const ExpertCacheCounters counters = cache->counters();
      EXPECT_EQ(counters.hits + counters.misses, 12 * kLayers * 3);
      if (slots == kLayers * kExperts) {
        EXPECT_LE(counters.misses, slots);  // each was read once at most
      }
    }
  }
}

constexpr PrefetchRule kRules[] = {
    Prefetch::kPreviousToken, Prefetch::kPreviousLayer, Prefetch::kNextRouter, {Prefetch::kNextRouter, 2},
    Prefetch::kFrequency,     Prefetch::kTable,         {Prefetch::kTable, 2}, Prefetch::kPath,
};

TEST_F(ExpertCacheTest, AnyGuessGivesTheStoredWeights) {
  for (const PrefetchRule rule : kRules) {
    for (const int slots : {1, 10, 12, kLayers * kExperts}) {
      const auto cache = make_cache(bytes_of_slots(slots), Evict::kPredicted, rule);
      std::mt19937 random(3);
      for (int token = 0; token < 12; ++token) {
        for (int layer = 0; layer < kLayers; ++layer) {
          std::vector<float> next(kExperts);
          for (float& score : next) score = static_cast<float>(random() % 3);
          expect_right(*cache, layer, some_experts(random), next);
        }
      }
      const ExpertCacheCounters c = cache->counters();
      EXPECT_EQ(c.hits + c.misses, 12 * kLayers * 3);
      EXPECT_LE(c.guessed_right, c.guessable);
      EXPECT_LE(c.guessed_right, c.guessed);
      EXPECT_LE(c.prefetch_hits, c.hits);
      EXPECT_LE(c.late_prefetches, c.misses);
      if (slots >= 10) {
        EXPECT_GT(c.guessed_right, 0);
      } else {
        EXPECT_EQ(c.guessed, 0);  // guesses need room
      }
    }
  }
}

TEST_F(ExpertCacheTest, FaultsOfGuessesAreErrorsOnlyOfWhoAsks) {
  for (const PrefetchRule rule : kRules) {
    const auto cache = make_cache(bytes_of_slots(10), Evict::kLfu, rule);
    std::mt19937 random(4);
    int errors = 0;
    for (int token = 0; token < 60; ++token) {
      file_.good_reads_left = static_cast<int>(random() % 12);
      file_.fault = std::array{Fault::kError, Fault::kShort, Fault::kStall, Fault::kNone}[token % 4];
      const std::vector<float> next(kExperts, 1.0f);
      const std::vector<std::int32_t> ids = some_experts(random);
      try {
        expect_right(*cache, token % kLayers, ids, next);
      } catch (const Error&) {
        ++errors;
        file_.fault = Fault::kNone;
        expect_right(*cache, token % kLayers, ids, next);
      }
    }
    EXPECT_GT(errors, 0);
    EXPECT_LT(errors, 30);
  }
}

TEST_F(ExpertCacheTest, ARightGuessIsAHitWhereNobodyWaitedAndAWrongOneIsWasted) {
  const auto cache = make_cache(bytes_of_slots(12), Evict::kLru, Prefetch::kNextRouter);
  expect_right(*cache, 0, {0}, {0, 0, 0, 2, 1, 0});  // guesses 3 of layer 1
  while (cache->counters().bytes_read < 2 * stored_bytes_) std::this_thread::yield();
  EXPECT_EQ(cache->counters().misses, 1);
  expect_right(*cache, 1, {3}, {0, 1, 0, 0, 0, 0});  // guesses 1 of layer 2
  EXPECT_EQ(cache->counters().prefetch_hits, 1);
  EXPECT_EQ(cache->counters().hits, 1);
  while (cache->counters().bytes_read < 3 * stored_bytes_) std::this_thread::yield();
  expect_right(*cache, 2, {5});
  const ExpertCacheCounters c = cache->counters();
  EXPECT_EQ(c.wasted_prefetches, 1);
  EXPECT_EQ(c.misses, 2);
  EXPECT_EQ(c.guessed, 2);
  EXPECT_EQ(c.guessed_right, 1);
  EXPECT_EQ(c.guessable, 2);
}

// ExpertFlow's plan: all stages of a token are predicted before its first one.
TEST_F(ExpertCacheTest, APlanReadsTheFirstStageAndKeepsWhatLaterStagesAreToAskFor) {
  const auto cache = make_cache(bytes_of_slots(9), Evict::kLru, Prefetch::kPath);
  const std::vector<std::vector<float>> scores = {{0, 0, 0, 0, 0, 1}, {0, 0, 0, 1, 0, 0}, {1, 0, 0, 0, 0, 0}};
  int asked = 0;
  const auto plan = [&](ExpertStage stage) {
    ++asked;
    return std::span<const float>(scores[static_cast<std::size_t>(stage.layer)]);
  };
  cache->plan_pass(plan);
  EXPECT_EQ(asked, 0);  // how many a stage asks for is not known yet
  for (int layer = 0; layer < kLayers; ++layer) expect_right(*cache, layer, {layer == 1 ? 3 : 1});
  for (const int e : {0, 2, 3, 4, 5}) expect_right(*cache, 2, {e});  // expert 0 of layer 2 comes in, slots are full
  expect_right(*cache, 1, {0});
  const std::int64_t before = cache->counters().bytes_read;
  cache->plan_pass(plan);
  EXPECT_EQ(asked, kLayers);
  while (cache->counters().bytes_read < before + stored_bytes_) std::this_thread::yield();  // expert 5 of layer 0
  const std::int64_t misses = cache->counters().misses;
  expect_right(*cache, 0, {2, 5});  // 2 comes in and sends away the least recently used but what is planned
  expect_right(*cache, 1, {3});
  EXPECT_EQ(cache->counters().prefetch_hits, 1);
  EXPECT_EQ(cache->counters().misses, misses + 1);
  EXPECT_EQ(cache->counters().guessed_right, 1);
}

TEST_F(ExpertCacheTest, AGuessTwoStagesAheadIsJudgedWhenItsStageRuns) {
  const auto cache = make_cache(bytes_of_slots(12), Evict::kLru, {Prefetch::kNextRouter, 2});
  expect_right(*cache, 0, {0}, {0, 0, 0, 2, 0, 0});  // guesses 3 of layer 2
  while (cache->counters().bytes_read < 2 * stored_bytes_) std::this_thread::yield();
  expect_right(*cache, 1, {4}, {0, 1, 0, 0, 0, 0});  // guesses 1 of layer 0
  EXPECT_EQ(cache->counters().guessed, 0);
  while (cache->counters().bytes_read < 4 * stored_bytes_) std::this_thread::yield();
  expect_right(*cache, 2, {3}, {0, 0, 0, 0, 0, 0});  // guesses nothing
  EXPECT_EQ(cache->counters().prefetch_hits, 1);
  EXPECT_EQ(cache->counters().guessed_right, 1);
  expect_right(*cache, 0, {0});
  const ExpertCacheCounters c = cache->counters();
  EXPECT_EQ(c.wasted_prefetches, 1);
  EXPECT_EQ(c.guessed, 2);
  EXPECT_EQ(c.guessable, 2);
  EXPECT_EQ(c.bytes_read, 4 * stored_bytes_);
}

TEST_F(ExpertCacheTest, RoundsOfALayerAreGuessedAndJudgedEachOnItsOwn) {
  rounds_ = {1, 3, 1};
  const auto cache = make_cache(bytes_of_slots(12), Evict::kPredicted, Prefetch::kPreviousToken);
  const auto token = [&] {
    expect_right(*cache, 0, {0});
    for (int round = 0; round < 3; ++round) expect_right(*cache, {1, round}, {2 * round, 2 * round + 1});
    expect_right(*cache, 2, {5});
  };
  token();
  EXPECT_EQ(cache->counters().guessed, 0);  // nothing was known before
  token();
  const ExpertCacheCounters c = cache->counters();
  EXPECT_EQ(c.guessed, 1 + 1 + 2 + 2 + 1);  // as many as the stage asked for that guessed
  EXPECT_EQ(c.guessed_right, c.guessed);
}

// Hot swap: the bytes of another place, and never those that a slot still has.
TEST_F(ExpertCacheTest, AReplacedExpertIsReadFromItsNewPlaceUnderAnyGuess) {
  for (const PrefetchRule rule : {PrefetchRule(Prefetch::kNone), PrefetchRule(Prefetch::kPreviousToken)}) {
    const auto cache = make_cache(bytes_of_slots(kLayers * kExperts), Evict::kLru, rule);
    std::vector<std::vector<ExpertPlace>> places(kLayers);
    std::uint64_t offset = kFileBegin;
    const auto place_of = [&](const ExpertWeights& expert) {
      ExpertPlace place;
      place.weights = &expert;
      for (const Linear* linear : {&expert.gate, &expert.up, &expert.down}) {
        place.places.push_back({linear->weights, 0, offset});
        offset += linear->weights.bytes();
      }
      return place;
    };
    for (int l = 0; l < kLayers; ++l) {
      for (const ExpertWeights& expert : experts_[l]) places[static_cast<std::size_t>(l)].push_back(place_of(expert));
    }
    for (int token = 0; token < 2; ++token) {
      for (int layer = 0; layer < kLayers; ++layer) expect_right(*cache, layer, {0, 1, 2});
    }
    EXPECT_EQ(cache->edition(1, 2), ExpertEdition());
    // Expert 2 of layer 1 becomes what expert 5 of layer 2 is.
    const ExpertWeights old = std::exchange(experts_[1][2], experts_[2][5]);
    cache->replace(1, 2, places[2][5], {1, 0});
    const std::int64_t misses = cache->counters().misses;
    for (int layer = 0; layer < kLayers; ++layer) expect_right(*cache, layer, {0, 1, 2});
    if (rule == Prefetch::kNone) {
      EXPECT_EQ(cache->counters().misses, misses + 1);
    }
    EXPECT_EQ(cache->edition(1, 2), (ExpertEdition{1, 0}));
    cache->replace(1, 2, places[0][0], {1, 0});  // the edition that is there: nothing changes
    expect_right(*cache, 1, {2});
    experts_[1][2] = old;
    cache->replace(1, 2, places[1][2], {2, 0});
    expect_right(*cache, 1, {2});
    ExpertPlace nothing;
    EXPECT_THROW(cache->replace(1, 2, nothing, {3, 0}), Error);
    expect_right(*cache, 1, {2});
  }
}

TEST_F(ExpertCacheTest, MoreExpertsThanSlotsComputeInTurn) {
  const auto cache = make_cache(bytes_of_slots(2));
  expect_right(*cache, 1, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(cache->counters().misses, 6);
}

TEST_F(ExpertCacheTest, AReadErrorNamesTheFileAndTheCacheGoesOn) {
  const auto cache = make_cache(bytes_of_slots(4));
  for (int good = 0; good < 6; ++good) {
    file_.good_reads_left = good;
    file_.fault = Fault::kError;
    try {
      cache->run(good % kLayers, std::vector<std::int32_t>{0, 1, 2, 3}, [](auto) {});
      ADD_FAILURE() << "no error after " << good << " good reads";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("fake.gguf: cannot read at byte"), std::string::npos) << error.what();
    }
    file_.fault = Fault::kNone;
    expect_right(*cache, good % kLayers, {0, 1, 2, 3});
  }
}

TEST_F(ExpertCacheTest, AFileThatBecameShorterIsAnError) {
  const auto cache = make_cache(bytes_of_slots(2));
  file_.fault = Fault::kShort;
  try {
    cache->run(0, std::vector<std::int32_t>{0}, [](auto) {});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("within an expert"), std::string::npos) << error.what();
  }
  file_.fault = Fault::kNone;
  expect_right(*cache, 0, {0, 5});
}

TEST_F(ExpertCacheTest, ASlowDiskIsCountedAsStall) {
  const auto cache = make_cache(bytes_of_slots(2));
  file_.fault = Fault::kStall;
  expect_right(*cache, 2, {1, 4});
  EXPECT_GT(cache->counters().stall_s, 0.004);
}

TEST_F(ExpertCacheTest, AnErrorOfTheComputationLeavesTheCacheUsable) {
  const auto cache = make_cache(bytes_of_slots(2));
  EXPECT_THROW(cache->run(0, std::vector<std::int32_t>{0, 1}, [](auto) { fail("test", "stops"); }), Error);
  expect_right(*cache, 0, {0, 1, 2});
}

TEST_F(ExpertCacheTest, ABudgetBelowOneExpertIsRefusedWithBothSizes) {
  const std::int64_t one = bytes_of_slots(1);
  try {
    make_cache(one - 1);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "fake.gguf: expert memory is " + std::to_string(one - 1) +
                                             " bytes, expected at least the " + std::to_string(one) + " of one expert");
  }
}

TEST_F(ExpertCacheTest, LayersOfSeveralThreadsTakeTurns) {
  const auto cache = make_cache(bytes_of_slots(3));
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 20; ++i) expect_right(*cache, (i + t) % kLayers, some_experts(random));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Eviction, EachPolicySendsAwayWhatItSays) {
  const auto victim = [](Evict policy) {
    Eviction eviction(policy, {3, 0, 3});
    const std::pair<int, int> uses[] = {{0, 0}, {0, 1}, {0, 1}, {2, 2}, {0, 0}, {0, 1}};
    for (const auto& [layer, expert] : uses) {
      eviction.enter(layer);
      eviction.use(layer, expert);
    }
    const std::int32_t cells[] = {eviction.cell_of(0, 0), eviction.cell_of(0, 1), eviction.cell_of(2, 2)};
    return std::pair(eviction.layer_of(eviction.victim(cells)), eviction.victim(cells));
  };
  EXPECT_EQ(victim(Evict::kLru), std::pair(2, 5));    // used longest ago
  EXPECT_EQ(victim(Evict::kLfu), std::pair(2, 5));    // used once
  EXPECT_EQ(victim(Evict::kLifo), std::pair(0, 1));   // used just now
  EXPECT_EQ(victim(Evict::kLayer), std::pair(0, 0));  // layer 0 computes: what it does not ask for is needed last
  EXPECT_THROW(parse_evict("belady"), Error);         // no running cache knows the future
  EXPECT_EQ(parse_evict("layer"), Evict::kLayer);
}

TEST(Eviction, PredictedKeepsWhatComesBackSooner) {
  Eviction eviction(Evict::kPredicted, {4, 4});
  for (int t = 0; t < 100; ++t) {
    for (const int layer : {0, 1}) {
      eviction.enter(layer);
      eviction.use(layer, 0);
      eviction.use(layer, 1 + t % 3);
    }
  }
  const int next = 1 + 100 % 3, just_used = 1 + 99 % 3;
  eviction.enter(0);
  const std::int32_t both_just_used[] = {eviction.cell_of(1, 0), eviction.cell_of(1, just_used)};
  EXPECT_EQ(eviction.victim(both_just_used), both_just_used[1]);
  const std::int32_t rotating[] = {eviction.cell_of(1, just_used), eviction.cell_of(1, next)};
  EXPECT_EQ(eviction.victim(rotating), rotating[0]);
  const std::int32_t other_layers[] = {eviction.cell_of(0, 0), eviction.cell_of(1, 0)};
  EXPECT_EQ(eviction.victim(other_layers), other_layers[0]);  // its layer has just begun without it
}

TEST(Eviction, StaticKeepsTheHotSetWhateverIsUsed) {
  Eviction eviction(Evict::kStatic, {2, 2}, {.popularity = {5, 1, 3, 4}, .uses = {}});
  for (int i = 0; i < 9; ++i) {
    eviction.enter(0);
    eviction.use(0, 1);
  }
  const std::int32_t all[] = {0, 1, 2, 3}, some[] = {0, 3, 2};
  EXPECT_EQ(eviction.victim(all), 1);
  EXPECT_EQ(eviction.victim(some), 2);
}

TEST(Eviction, BeladySendsAwayWhatIsNeededLast) {
  // Passes 1 and 3 are of layer 0, 2 and 4 of layer 1.
  Eviction eviction(Evict::kBelady, {2, 2}, {.popularity = {}, .uses = {{1, 3}, {1}, {2}, {2, 4}}});
  const std::int32_t without_the_unused[] = {0, 2, 3}, all[] = {0, 1, 2, 3};
  eviction.enter(0);
  EXPECT_EQ(eviction.victim(without_the_unused), 0);  // the present pass does not count: 3 comes after 2
  EXPECT_EQ(eviction.victim(all), 1);                 // never again
  eviction.enter(1);
  eviction.enter(0);
  EXPECT_EQ(eviction.victim(std::span(without_the_unused).subspan(1)), 2);  // pass 4 beats never
}

}  // namespace
}  // namespace junto
