// What an experiment will cost, before it runs and while it does.
#pragma once

#include "train/reproduce/trunk.h"

namespace junto {

/// Seconds that runs are expected to take, by those that have finished.
class Pace {
 public:
  /// `flops` as planned_flops() has them: 0 where steps decide.
  void add(double flops, double seconds) { flops_ += flops, seconds_ += seconds, ++runs_; }
  bool known() const { return runs_ > 0; }
  /// By operations where runs have a budget of them, else the mean of those that finished; 0 before the first.
  double seconds_of(double flops) const {
    if (runs_ == 0) return 0.0;
    return flops > 0.0 && flops_ > 0.0 ? seconds_ * flops / flops_ : seconds_ / runs_;
  }

 private:
  double flops_ = 0.0, seconds_ = 0.0;
  int runs_ = 0;
};

/// Prints arms, runs, operations, minutes and memory, from a few steps of each arm that are then forgotten; a branch is
/// counted from where it leaves its trunk. Returns 0.
int print_plan(const Setting& setting);

}  // namespace junto
