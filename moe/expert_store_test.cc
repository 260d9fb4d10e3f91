#include "moe/expert_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "base/error.h"
#include "moe/grouped_experts.h"
#include "moe/test_random_linear.h"

namespace junto {
namespace {

constexpr std::int64_t kHidden = 32;

/// An expert whose output names it: up is all ones on the first input, down gives back `value` times that.
ExpertWeights constant_ffn(float value, std::int64_t width) {
  ExpertWeights expert;
  expert.activation = {.kind = ActivationKind::kRelu, .gated = false};
  std::vector<float> up(width * kHidden, 0.0f), down(kHidden * width, 0.0f);
  up[0] = 1.0f;
  for (std::int64_t d = 0; d < kHidden; ++d) down[d * width] = value;
  expert.up.weights = make_weights(make_tensor({width, kHidden}, std::move(up)));
  expert.down.weights = make_weights(make_tensor({kHidden, width}, std::move(down)));
  return expert;
}

std::vector<std::vector<ExpertWeights>> three_layers() {
  std::vector<std::vector<ExpertWeights>> layers(3);  // the second is dense
  for (const int layer : {0, 2}) {
    for (int e = 0; e < 3 + layer; ++e) layers[layer].push_back(constant_ffn(1.0f, 8 + e));
  }
  return layers;
}

TEST(ExpertStore, ASnapshotKeepsWhatItHad) {
  ExpertStore store(three_layers(), kHidden, "test");
  const auto before = store.snapshot();
  EXPECT_EQ(before->version, 0u);
  EXPECT_EQ(before->layers[0].experts.size(), 3u);
  EXPECT_TRUE(before->layers[1].experts.empty());
  const ExpertWeights* old = before->layers[2].experts[4];
  EXPECT_EQ(store.replace(2, 4, constant_ffn(2.0f, 100), "patch"), 1u);
  const auto after = store.snapshot();
  EXPECT_EQ(before->layers[2].experts[4], old);
  EXPECT_EQ(old->width(), 12);
  EXPECT_EQ(after->layers[2].experts[4]->width(), 100);
  EXPECT_EQ(after->layers[2].experts[4]->version, 1u);
  EXPECT_EQ(after->layers[2].experts[3], before->layers[2].experts[3]);  // shared, not copied
  EXPECT_EQ(store.replace(0, 0, constant_ffn(2.0f, 1), "patch"), 2u);
}

TEST(ExpertStore, MisfitsAreRefusedAndChangeNothing) {
  ExpertStore store(three_layers(), kHidden, "test");
  EXPECT_THROW(store.replace(3, 0, constant_ffn(1, 8), "p"), Error);
  EXPECT_THROW(store.replace(-1, 0, constant_ffn(1, 8), "p"), Error);
  EXPECT_THROW(store.replace(1, 0, constant_ffn(1, 8), "p"), Error);
  EXPECT_THROW(store.replace(0, 3, constant_ffn(1, 8), "p"), Error);
  ExpertWeights wrong = constant_ffn(1, 8);
  wrong.down = constant_ffn(1, 9).down;
  EXPECT_THROW(store.replace(0, 0, wrong, "p"), Error);
  wrong = constant_ffn(1, 8);
  wrong.activation.gated = true;
  EXPECT_THROW(store.replace(0, 0, wrong, "p"), Error);
  wrong = constant_ffn(1, 8);
  wrong.kind = ExpertKind::kZero;
  EXPECT_THROW(store.replace(0, 0, wrong, "p"), Error);
  wrong = {};
  wrong.kind = ExpertKind::kConstant;
  EXPECT_THROW(store.replace(0, 0, wrong, "p"), Error);
  EXPECT_THROW(store.replace(0, 0, {}, "p"), Error);
  EXPECT_EQ(store.snapshot()->version, 0u);
}

TEST(ExpertStore, UseIsSummedByLayer) {
  ExpertStore store(three_layers(), kHidden, "test");
  store.count(0, {.rows = 2, .bytes_read = 10});
  store.count(2, {.rows = 3, .free_rows = 1, .flops = 7});
  store.count(0, {.rows = 1});
  EXPECT_EQ(store.use(0), (ExpertUse{.rows = 3, .bytes_read = 10}));
  EXPECT_EQ(store.use(1), ExpertUse{});
  EXPECT_EQ(store.use(), (ExpertUse{.rows = 6, .free_rows = 1, .bytes_read = 10, .flops = 7}));
  store.reset_use();
  EXPECT_EQ(store.use(), ExpertUse{});
}

// Batches compute while another thread replaces the only expert again and again. Every batch must see one version from
// its first row to its last.
TEST(ExpertStore, RunningBatchesFinishOnTheirSnapshot) {
  ExpertStore store({{constant_ffn(0.0f, 16)}}, kHidden, "test");
  constexpr int kRows = 9, kReplacements = 300;
  std::atomic<bool> done{false};
  const auto compute = [&] {
    RoutePlan plan;
    for (int row = 0; row < kRows; ++row) {
      plan.expert.push_back(0);
      plan.weight.push_back(1.0f);
      plan.offset.push_back(row + 1);
    }
    ExpertGroups groups;
    group_by_expert(plan, 1, groups);
    Matrix<float> x(kRows, kHidden), out(kRows, kHidden);
    std::fill(x.values.begin(), x.values.end(), 1.0f);
    ActivationRows activations;
    activations.assign(x.view());
    ThreadPool pool(2);
    ExpertScratch scratch;
    float newest = 0.0f;
    do {
      const auto table = store.snapshot();
      const ExpertUse use = run_experts(table->layers[0].experts, plan, groups, WeightOn::kOutput, ActivationType::kF32,
                                        activations, pool, scratch, out.view());
      store.count(0, use);
      for (int i = 0; i < kRows * kHidden; ++i) ASSERT_EQ(out.values[i], out.values[0]);
      ASSERT_EQ(out.values[0], static_cast<float>(table->layers[0].experts[0]->version));
      ASSERT_GE(out.values[0], newest);
      newest = out.values[0];
    } while (!done.load());
  };
  std::thread first(compute), second(compute);
  for (int i = 1; i <= kReplacements; ++i) store.replace(0, 0, constant_ffn(static_cast<float>(i), 16 + i % 5), "test");
  done = true;
  first.join();
  second.join();
  EXPECT_EQ(store.snapshot()->version, static_cast<std::uint64_t>(kReplacements));
  EXPECT_GT(store.use(0).rows, 0);
}

}  // namespace
}  // namespace junto
