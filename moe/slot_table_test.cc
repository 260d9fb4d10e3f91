// What the running cache and its simulation decide alike. Reads come when a test says so.
#include "moe/slot_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

namespace junto {
namespace {

constexpr int kParts = 3;

class ByHand : public SlotReads {
 public:
  bool has_weights(std::int32_t cell) const override { return cell != without; }
  int load(std::int32_t slot, std::int32_t cell) override {
    collected.push_back(slot);
    loads.push_back(cell);
    return kParts;
  }
  void submit(Priority priority) override {
    for (const std::int32_t slot : collected) (priority == Priority::kDemand ? begun : waiting)[slot] = kParts;
    collected.clear();
  }
  void hurry(std::int32_t slot) override { begun[slot] += cancel(slot); }
  int cancel(std::int32_t slot) override {
    const auto found = waiting.find(slot);
    if (found == waiting.end()) return 0;
    const int parts = found->second;
    waiting.erase(found);
    return parts;
  }
  /// All that is under way or waits comes.
  void finish(SlotTable& table) {
    for (auto* parts : {&begun, &waiting}) {
      for (const auto& [slot, count] : std::map(*parts)) {
        for (int p = 0; p < count; ++p) table.part_arrived(slot, false);
      }
      parts->clear();
    }
  }

  std::int32_t without = -1;
  std::vector<std::int32_t> loads;             // cells, in order
  std::vector<std::int32_t> collected;         // slots
  std::map<std::int32_t, int> begun, waiting;  // parts of slots
};

void run(SlotTable& table, ByHand& reads, ExpertStage stage, std::vector<std::int32_t> ids) {
  table.ask(stage, ids, 1);
  while (!table.done()) {
    table.start_loads();
    reads.finish(table);
    const auto ready = table.take_ready();
    table.computed(std::vector<std::int32_t>(ready.begin(), ready.end()));
  }
}

TEST(SlotTable, AnotherVersionOrPrecisionIsReadAgainAndTheOldOneNeverServed) {
  ByHand reads;
  SlotTable table({.experts = {4}, .evict = Evict::kLru}, 3, reads);
  run(table, reads, 0, {1, 2});
  const std::int32_t cell = table.cells().cell_of(0, 1);
  for (const ExpertEdition edition : {ExpertEdition{7, 0}, ExpertEdition{7, 4}, ExpertEdition{8, 4}}) {
    reads.loads.clear();
    table.set_edition(cell, edition);
    EXPECT_FALSE(table.is_ready(cell));
    table.set_edition(cell, edition);
    run(table, reads, 0, {1, 2});
    EXPECT_EQ(reads.loads, std::vector<std::int32_t>{cell});  // 2 is served from its slot
    table.set_edition(cell, edition);                         // the one that is there
    EXPECT_TRUE(table.is_ready(cell));
    EXPECT_EQ(table.edition(cell), edition);
  }
  EXPECT_EQ(table.empty_slots(), 1);
  EXPECT_EQ(table.counters().misses, 2 + 3);
}

TEST(SlotTable, AGuessOfAnExpertThatIsReplacedIsWasted) {
  ByHand reads;
  SlotTable table({.experts = {4, 4}, .prefetch = Prefetch::kNextRouter}, 8, reads);
  table.ask(0, std::array{0}, 1);
  table.start_loads();
  ASSERT_EQ(table.guess_target(), 1);
  table.guess(1, std::array{0.0f, 0.0f, 1.0f, 0.0f});
  reads.finish(table);
  table.computed(std::array{0});
  table.set_edition(table.cells().cell_of(1, 2), {1, 0});
  EXPECT_EQ(table.counters().wasted_prefetches, 1);
  run(table, reads, 1, {2});
  EXPECT_EQ(table.counters().misses, 2);
  EXPECT_EQ(table.counters().prefetch_hits, 0);
}

TEST(SlotTable, AWrongGuessThatHasNotBegunEmptiesItsSlotAndARightOneIsHurried) {
  ByHand reads;
  SlotTable table({.experts = {4, 4}, .prefetch = Prefetch::kNextRouter}, 12, reads);
  const auto guess_of_next = [&](std::array<float, 4> scores) {
    table.ask(0, std::array{0, 1}, 1);
    table.start_loads();
    table.guess(table.guess_target(), scores);
    for (const auto& [slot, parts] : std::exchange(reads.begun, {})) {
      for (int p = 0; p < parts; ++p) table.part_arrived(slot, false);
    }
    table.computed(std::array{0, 1});
  };
  guess_of_next({0, 0, 1, 1});
  EXPECT_EQ(reads.waiting.size(), 2u);
  table.ask(1, std::array{2}, 1);
  EXPECT_TRUE(reads.waiting.empty());
  EXPECT_EQ(reads.begun.size(), 1u);  // 2, which is waited for now
  EXPECT_EQ(table.counters().late_prefetches, 1);
  EXPECT_EQ(table.counters().dropped_prefetches, 1);
  EXPECT_EQ(table.empty_slots(), 12 - 3);
  reads.finish(table);
  EXPECT_TRUE(table.is_ready(table.cells().cell_of(1, 2)));
}

TEST(SlotTable, WhatHasNoWeightsIsNotGuessed) {
  ByHand reads;
  SlotTable table({.experts = {4, 4}, .prefetch = Prefetch::kNextRouter}, 12, reads);
  reads.without = table.cells().cell_of(1, 2);
  table.ask(0, std::array{0, 1}, 1);
  table.start_loads();
  table.guess(table.guess_target(), std::array{0.0f, 0.0f, 1.0f, 1.0f});
  EXPECT_EQ(reads.loads.size(), 3u);
}

}  // namespace
}  // namespace junto
