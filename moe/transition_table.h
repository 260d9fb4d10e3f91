// What follows what: of an expert of one stage, how often each expert of a later one was used by the same token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace junto {

class TransitionTable {
 public:
  TransitionTable(int experts_before, int experts_after);

  /// The same rows asked for these. Of many rows nobody knows who followed whom: an ask of n experts counts a pair as
  /// one n-th.
  void learn(std::span<const std::int32_t> before, std::span<const std::int32_t> after);

  /// likely [E after] = for each expert, the sum over `before` of the shares of their uses that it followed, each
  /// counted beside one more use of which the experts have the shares that `prior` [E after] gives them.
  void predict(std::span<const std::int32_t> before, std::span<const float> prior, std::span<float> likely) const;

 private:
  std::vector<float> uses_;      // [E before]
  std::vector<float> followed_;  // [E before, E after]
};

}  // namespace junto
