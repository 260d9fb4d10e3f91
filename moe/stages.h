// The order in which a model asks for its experts: layer by layer, in a layer of several rounds (moe/rounds.h) round by
// round. What guesses and evicts goes by these stages.
#pragma once

#include <vector>

namespace junto {

/// Where experts are asked for. A layer stands for its first round.
struct ExpertStage {
  constexpr ExpertStage(int the_layer = 0, int the_round = 0) : layer(the_layer), round(the_round) {}
  int layer, round;
  bool operator==(const ExpertStage&) const = default;
};

class ExpertStages {
 public:
  /// experts [layers], E of each: a layer of none is no stage. rounds [layers]; empty: one each.
  explicit ExpertStages(const std::vector<int>& experts, const std::vector<int>& rounds = {});

  /// Of one token.
  int count() const { return static_cast<int>(stages_.size()); }
  /// The number of a stage, -1 where it is none.
  int index_of(ExpertStage stage) const;
  ExpertStage stage(int index) const { return stages_[static_cast<std::size_t>(index)]; }
  /// E.
  int experts(int index) const { return experts_[static_cast<std::size_t>(index)]; }
  /// `steps` stages later; the first one of the next token follows the last one.
  int after(int index, int steps) const { return (index + steps) % count(); }
  /// Steps from a stage to the next one of a layer, 1..count(). The layer has experts.
  int steps_to_layer(int index, int layer) const;

 private:
  std::vector<ExpertStage> stages_;
  std::vector<int> experts_;          // [stages]
  std::vector<int> first_of_layer_;   // -1: none
  std::vector<int> rounds_of_layer_;  // [layers]
};

}  // namespace junto
