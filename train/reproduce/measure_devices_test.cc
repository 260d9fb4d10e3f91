#include "train/reproduce/measure_devices.h"

#include <gtest/gtest.h>

#include <numeric>

#include "train/loop/test_logits.h"

namespace junto {
namespace {

/// Four sequences, one routing, two experts on two devices: sequences 0 and 2 fill the first, 1 and 3 the second.
SequenceRows one_sided() {
  return {.tokens = 16, .routings = 1, .experts = 2, .rows = {{4, 0}, {0, 6}, {4, 0}, {0, 4}}, .several = {0, 2, 0, 0}};
}

TEST(MeasureDevices, WhatABatchCostsFollowsFromItsSequences) {
  const std::vector<std::int64_t> alike = {0, 2, 1, 3}, mixed = {0, 1, 2, 3};
  EXPECT_EQ(rows_in_order(one_sided(), alike, 2, 2).slowest, 8.0 + 10.0);
  EXPECT_EQ(rows_in_order(one_sided(), mixed, 2, 2).slowest, 6.0 + 4.0);
  EXPECT_EQ(rows_in_order(one_sided(), mixed, 2, 2).mean, 9.0);
  EXPECT_EQ(rows_in_order(one_sided(), mixed, 2, 1).waiting(), 0.0);
  EXPECT_EQ(rows_in_order(one_sided(), mixed, 3, 2).slowest, 8.0 + 4.0);  // the last step is a short one
}

TEST(MeasureDevices, TheCurriculumIsComparedWithShufflesOfTheSameSequences) {
  const Json found = measure_devices(one_sided(), 2, 2, 1);
  // None has fewer than 0: by the sum, 0, 2, 3 and then 1.
  EXPECT_DOUBLE_EQ(found.at("ordered_device_rows").get<double>(), (8.0 + 10.0) * 2 / 16);
  EXPECT_DOUBLE_EQ(found.at("order_saves").get<double>(),
                   1.0 - found.at("ordered_device_rows").get<double>() / found.at("device_rows").get<double>());
  EXPECT_GE(found.at("device_rows").get<double>(), 10.0 * 2 / 16);
  EXPECT_TRUE(measure_devices(one_sided(), 2, 3, 1).empty());  // more devices than experts
}

TEST(MeasureDevices, EveryRowOfTheModelIsCountedOnce) {
  LanguageModelShape shape = small_shape();
  shape.router = {.experts = 6, .select = TopK{2}};
  shape.zero_experts = 1;
  const LanguageModel model(shape, 3);
  TokenIds text(200);
  std::iota(text.begin(), text.end(), 0);
  SequenceRows rows, one_by_one;
  add_sequence_rows(model, text, 9, 4, 10, rows);
  EXPECT_EQ(rows.sequences(), 9);
  EXPECT_EQ(rows.tokens, 90);
  EXPECT_EQ(rows.experts, 5);
  for (std::int64_t s = 0; s < 9; ++s) {
    for (std::int64_t layer = 0; layer < rows.routings; ++layer) {
      EXPECT_EQ(rows.several[static_cast<std::size_t>(s * rows.routings + layer)], 10.0f);  // all have two
      const double sum = std::accumulate(rows.rows[s].begin() + 5 * layer, rows.rows[s].begin() + 5 * (layer + 1), 0.0);
      EXPECT_LE(sum, 20.0);
      EXPECT_GE(sum, 10.0);  // the zero expert is one of two at most
    }
  }
  add_sequence_rows(model, text, 9, 1, 10, one_by_one);
  EXPECT_EQ(one_by_one.rows, rows.rows);
}

}  // namespace
}  // namespace junto
