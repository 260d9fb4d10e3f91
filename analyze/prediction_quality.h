// How well a trace's experts are guessed: the rules of --prefetch on a recorded run, without the model.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "analyze/route_trace.h"
#include "model/path_predictor.h"
#include "moe/predictor.h"

namespace junto {

struct PredictionQuality {
  PrefetchRule rule;
  std::int64_t guessed = 0, right = 0;  // experts
  std::int64_t asked = 0;               // by the stages that were guessed
  double guessed_bytes = 0;             // where the trace knows what an expert has

  double recall() const;     // right / asked; 0 where nothing was
  double precision() const;  // right / guessed
};

/// Each token's stages guess as the running cache does: as many experts as the stage that runs asks for, so that rules
/// compare at equal bytes. Nothing is counted in the first `warm_up` tokens, which learning rules learn from.
/// `learned`: of another trace, what kTable knows before. kPath says all stages of a token before its first one, from
/// the tokens of the trace's sequence so far. Throws Error where that is of other stages, and of kNextRouter, which
/// needs the model.
PredictionQuality measure_prediction(const RouteTrace& trace, PrefetchRule rule,
                                     const std::shared_ptr<const PastRoutes>& learned = nullptr,
                                     std::int64_t warm_up = 0, PathPredictor* paths = nullptr);

/// Throws Error where `paths` is null, or predicts others than the stages of `trace`, which have so many experts.
void expect_paths(const PathPredictor* paths, const std::vector<int>& experts, const RouteTrace& trace);

}  // namespace junto
