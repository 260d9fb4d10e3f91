// How soon an expert will be used again, learned while a model runs: what Evict::kPredicted goes by.
//
// An expert is described by how many times its stage (moe/stages.h) has run since it was used, and by its share of the
// stage's uses of late. How often experts of each description were used the next time is counted, over all experts, so
// a hundred tokens are enough to tell what reuse and what popularity are worth in this model and text.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "moe/stages.h"

namespace junto {

class ReuseForecast {
 public:
  static constexpr double kHalfLife_tokens = 64;

  explicit ReuseForecast(const std::vector<int>& experts_of_layer, const ExpertStages& stages);

  /// A stage of the layer begins; its uses follow.
  void enter(int layer);
  void use(int layer, int expert);

  /// The chance that the next stage of the layer uses an expert, between 0 and 1.
  double chance(int layer, int expert) const;

 private:
  static constexpr std::size_t kAges = 10, kShares = 8;
  struct Past {
    std::int64_t last_use = 0;      // pass of the layer, from 1; 0: never
    double weight = 0;              // of its uses, decayed to the present pass
    std::size_t now = 0, next = 0;  // descriptions for the present pass and for the one after it
  };
  struct Layer {
    std::int64_t pass = 0;
    double uses = 0;  // decayed, of all experts
    double kept = 1;  // of a weight, from pass to pass
    std::vector<Past> experts;
  };
  struct Count {
    double used = 0, seen = 0;
  };

  /// What an expert is for the next pass, if it is not used in this one.
  static std::size_t describe(const Layer& layer, const Past& past);

  std::vector<Layer> layers_;
  std::array<Count, kAges * kShares> counts_{};
};

}  // namespace junto
