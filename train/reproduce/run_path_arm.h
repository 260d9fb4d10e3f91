// One (arm, seed) whose model predicts paths.
#pragma once

#include <vector>

#include "train/loop/trainer.h"
#include "train/reproduce/run_arm.h"

namespace junto {

/// As run_arm(), of a fresh trainer whose text is traces.
Json run_path_arm(Trainer& trainer, const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts);

}  // namespace junto
