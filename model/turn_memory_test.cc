#include "model/turn_memory.h"

#include <gtest/gtest.h>

namespace junto {
namespace {

void fill(MatrixView<float> view, float value) {
  for (std::int64_t r = 0; r < view.rows; ++r) {
    for (float& each : view.row(r)) each = value;
  }
}

bool is_full_of(MatrixView<const float> view, float value) {
  for (std::int64_t r = 0; r < view.rows; ++r) {
    for (const float each : view.row(r)) {
      if (each != value) return false;
    }
  }
  return true;
}

TEST(TurnMemory, MatricesOfATurnStayWhereTheyAreHoweverManyFollow) {
  TurnMemory memory;
  TurnMatrix a(memory), b(memory), c(memory);
  for (int turn = 0; turn < 3; ++turn) {
    memory.begin();
    a.resize(3, 5);
    const MatrixView<float> shown = a.view();
    fill(shown, 1);
    b.resize(100, 7);
    fill(b.view(), 2);
    c.resize(1000, 3);
    fill(c.view(), 3);
    EXPECT_EQ(a.view().data, shown.data);
    EXPECT_TRUE(is_full_of(a.view(), 1));
    EXPECT_TRUE(is_full_of(b.view(), 2));
  }
}

TEST(TurnMemory, TurnsShareWhatTheLargestNeeds) {
  TurnMemory memory;
  TurnMatrix a(memory), b(memory), large(memory);
  for (int turn = 0; turn < 3; ++turn) {
    memory.begin();
    a.resize(64, 16);
    b.resize(64, 16);
    b.resize(10, 16);  // smaller: where it was
    memory.begin();
    large.resize(64, 64);
  }
  EXPECT_EQ(memory.size(), 64 * 64);
  memory.begin();
  memory.reserve(100 * 64);
  EXPECT_EQ(memory.size(), 100 * 64);
  large.resize(100, 64);
  EXPECT_EQ(memory.size(), 100 * 64);
}

}  // namespace
}  // namespace junto
