#include "train/parallel/parted_parameters.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "format/test_directory.h"
#include "train/nn/language_model.h"
#include "train/parallel/test_rank_threads.h"

namespace junto {
namespace {

LanguageModelShape shape_of_five() {
  LanguageModelShape shape;
  shape.vocabulary = 11;
  shape.hidden = 6;
  shape.layers = 2;
  shape.heads = shape.kv_heads = 1;
  shape.head_dim = 6;
  shape.expert_width = 5;
  shape.router.experts = 5;
  return shape;
}

/// Placements of five experts on three ranks, none of them a grid.
std::vector<Placement> placements() {
  std::vector<Placement> all(4, {.version = 0, .ranks = 3, .ranks_of_expert = {}});
  all[0].ranks_of_expert = {{0}, {1}, {2}, {2}, {0}};
  all[1].ranks_of_expert = {{2, 0}, {2}, {0, 1, 2}, {1}, {1, 2}};
  all[2].ranks_of_expert.assign(5, {0, 1, 2});
  all[3].ranks_of_expert = {{1}, {1}, {1}, {1}, {0}};  // rank 2 has none
  return all;
}

TEST(PartedParameters, BeginWithTheValuesOfOneProcessAndMoveAsTheyAre) {
  const LanguageModel whole(shape_of_five(), 7);
  RankThreads::run(3, [&](Exchange& exchange) {
    for (const Placement& first : placements()) {
      const auto from = make_expert_share(first, exchange);
      const LanguageModel model(shape_of_five(), 7, from);
      const Parameters& parameters = model.parameters();
      EXPECT_TRUE(at::equal(parameters.values(), part_of_flat(whole.parameters().values(), parameters, *from)));
      EXPECT_EQ(parameters.count(), whole.parameters().count());
      const at::Tensor gathered = gathered_flat(parameters.values(), parameters, *from);
      if (exchange.rank() == 0) {
        EXPECT_TRUE(at::equal(gathered, whole.parameters().values()));
      }
      for (const Placement& second : placements()) {
        const auto to = make_expert_share(second, exchange);
        const LanguageModel there(shape_of_five(), 7, to);
        EXPECT_TRUE(at::equal(moved_flat(parameters.values(), parameters, *from, *to), there.parameters().values()));
      }
    }
  });
}

// Gradients that are small whole numbers: sums are exact whatever their order.
TEST(PartedParameters, GradientsAreSummedOverThoseWhoHoldThem) {
  const LanguageModel whole(shape_of_five(), 7);
  const auto gradient_of = [&](int rank) {
    const at::Tensor gradient = at::zeros_like(whole.parameters().values());
    for (const Parameter& parameter : whole.parameters().all()) {
      for (std::int64_t i = 0; i < parameter.value.numel(); ++i)
        gradient[parameter.offset + i] = static_cast<double>((parameter.offset + i * (rank + 2)) % 7 - 3);
    }
    return gradient;
  };
  for (const Placement& placement : placements()) {
    RankThreads::run(3, [&](Exchange& exchange) {
      const auto share = make_expert_share(placement, exchange);
      LanguageModel model(shape_of_five(), 7, share);
      Parameters& parameters = model.parameters();
      at::Tensor gradients = parameters.gradients();
      gradients.copy_(part_of_flat(gradient_of(exchange.rank()), parameters, *share));
      sum_parted_gradients(parameters, *share, 0.5f);
      // One process: of each expert the sum over its holders, of all else over all.
      at::Tensor expected = gradient_of(0) + gradient_of(1) + gradient_of(2);
      const FlatLayout layout = flat_layout(parameters, 5);
      for (const FlatLayout::Part& part : layout.parts) {
        for (std::int64_t e = 0; part.parted && e < 5; ++e) {
          at::Tensor row = expected.narrow(0, part.offset + e * part.row_size, part.row_size);
          row.zero_();
          for (const std::int32_t holder : placement.ranks_of_expert[static_cast<std::size_t>(e)])
            row.add_(gradient_of(holder).narrow(0, part.offset + e * part.row_size, part.row_size));
        }
      }
      expected.mul_(0.5);
      EXPECT_TRUE(at::equal(gradients, part_of_flat(expected, parameters, *share)));
      EXPECT_NEAR(parted_gradient_norm(parameters, *share),
                  std::sqrt(expected.to(at::kDouble).square().sum().item<double>()), 1e-9);
    });
  }
}

TEST(PlacementGrid, EveryGroupHoldsEveryExpertOnce) {
  const Placement placement = placement_of({.data = 2, .experts = 3}, 5);
  check_placement(placement, 5);
  EXPECT_EQ(placement.ranks_of_expert,
            (std::vector<std::vector<std::int32_t>>{{0, 3}, {0, 3}, {1, 4}, {1, 4}, {2, 5}}));
  for (int sender = 0; sender < 6; ++sender) {
    for (int expert = 0; expert < 5; ++expert) EXPECT_EQ(server_of(placement, expert, sender) / 3, sender / 3);
  }
  RankThreads::run(2, [&](Exchange& exchange) {
    EXPECT_NE(error_of([&] { make_expert_share(placement, exchange); }).find("6 ranks, expected 2"), std::string::npos);
  });
}

}  // namespace
}  // namespace junto
