#include "analyze/prediction_quality.h"

#include <algorithm>
#include <string>
#include <utility>

#include "analyze/side_by_side.h"
#include "analyze/traced_stages.h"
#include "base/error.h"

namespace junto {
namespace {

double share(std::int64_t part, std::int64_t of) {
  return of > 0 ? static_cast<double>(part) / static_cast<double>(of) : 0;
}

/// What the predictor says of each stage that is ahead of one that ran.
struct OpenGuesses {
  std::vector<std::vector<std::int32_t>> experts;  // [stages]
  std::vector<bool> is_open;                       // [stages]
};

void judge(std::span<const std::int32_t> guess, std::span<const std::int32_t> asked, double expert_bytes,
           PredictionQuality& out) {
  out.guessed += std::ssize(guess);
  out.guessed_bytes += static_cast<double>(guess.size()) * expert_bytes;
  out.asked += std::ssize(asked);
  out.right += std::ranges::count_if(guess, [&](std::int32_t e) { return std::ranges::binary_search(asked, e); });
}

/// All stages of a token before it runs, of each as many experts as it asked for last. `chances`: of all experts, stage
/// by stage, or none.
void guess_token(std::span<const float> chances, Predictor& predictor, OpenGuesses& open) {
  for (int s = 0; s < predictor.stages().count(); ++s) {
    const auto index = static_cast<std::size_t>(s);
    const auto experts = chances.empty() ? 0 : static_cast<std::size_t>(predictor.stages().experts(s));
    predictor.predict(s, predictor.last_asked(s), chances.first(experts), open.experts[index]);
    chances = chances.subspan(experts);
    open.is_open[index] = predictor.last_asked(s) > 0;
  }
}

}  // namespace

void expect_paths(const PathPredictor* paths, const std::vector<int>& experts, const RouteTrace& trace) {
  if (!paths) fail("path", "needs a predictor of paths: --path-predictor FILE");
  const std::vector<int>& predicted = paths->model().config.path_experts;
  if (predicted == experts) return;
  fail(paths->model().path, "predicts routers of " + Json(predicted).dump() + " experts, those of " + trace.source +
                                " have " + Json(experts).dump());
}

double PredictionQuality::recall() const {
  return share(right, asked);
}

double PredictionQuality::precision() const {
  return share(right, guessed);
}

PredictionQuality measure_prediction(const RouteTrace& trace, PrefetchRule rule,
                                     const std::shared_ptr<const PastRoutes>& learned, std::int64_t warm_up,
                                     PathPredictor* paths) {
  if (rule.rule == Prefetch::kNextRouter) {
    fail(std::string(prefetch_name(rule)),
         "asks the model's routers, which no trace has: run the model with --prefetch");
  }
  auto past = std::make_shared<const PastRoutes>(past_routes_of(trace));
  if (learned && learned->experts != past->experts) fail(trace.source, "has not the routers that were learned from");
  const TracedStages traced = stages_of(trace);
  const ExpertStages stages = traced.stages();
  Predictor predictor(rule, stages, rule.rule == Prefetch::kOracle ? past : learned);
  if (rule.rule == Prefetch::kPath) expect_paths(paths, past->experts, trace);
  OpenGuesses open{std::vector<std::vector<std::int32_t>>(past->experts.size()),
                   std::vector<bool>(past->experts.size())};
  PredictionQuality out{rule};
  for (std::int64_t t = 0; t < trace.tokens(); ++t) {
    if (rule.rule == Prefetch::kPath) guess_token(paths->predict(sequence_up_to(trace, t)), predictor, open);
    for (int s = 0; s < stages.count(); ++s) {
      const std::span<const std::int32_t> asked = past->asked_by(t, s);
      const auto index = static_cast<std::size_t>(s);
      if (open.is_open[index] && t >= warm_up) {
        judge(open.experts[index], asked, static_cast<double>(traced.routers[index]->expert_bytes), out);
      }
      predictor.used(s, asked);
      if (rule.rule == Prefetch::kPath) continue;
      const int target = predictor.target(s);
      if (target < 0) continue;
      predictor.predict(target, asked.size(), {}, open.experts[static_cast<std::size_t>(target)]);
      open.is_open[static_cast<std::size_t>(target)] = true;
    }
  }
  return out;
}

}  // namespace junto
