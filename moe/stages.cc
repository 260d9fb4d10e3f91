#include "moe/stages.h"

#include <cstddef>

namespace junto {

ExpertStages::ExpertStages(const std::vector<int>& experts, const std::vector<int>& rounds) {
  for (std::size_t l = 0; l < experts.size(); ++l) {
    rounds_of_layer_.push_back(rounds.empty() ? 1 : rounds[l]);
    first_of_layer_.push_back(experts[l] > 0 ? count() : -1);
    for (int round = 0; experts[l] > 0 && round < rounds_of_layer_.back(); ++round) {
      stages_.emplace_back(static_cast<int>(l), round);
      experts_.push_back(experts[l]);
    }
  }
}

int ExpertStages::index_of(ExpertStage stage) const {
  const int first = first_of_layer_[static_cast<std::size_t>(stage.layer)];
  return first < 0 ? -1 : first + stage.round;
}

int ExpertStages::steps_to_layer(int index, int layer) const {
  const int first = first_of_layer_[static_cast<std::size_t>(layer)];
  const int last = first + rounds_of_layer_[static_cast<std::size_t>(layer)] - 1;
  if (index >= first && index < last) return 1;
  return (first - index - 1 + 2 * count()) % count() + 1;
}

}  // namespace junto
