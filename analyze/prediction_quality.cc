#include "analyze/prediction_quality.h"

#include <algorithm>
#include <string>
#include <utility>

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

}  // namespace

double PredictionQuality::recall() const {
  return share(right, asked);
}

double PredictionQuality::precision() const {
  return share(right, guessed);
}

PredictionQuality measure_prediction(const RouteTrace& trace, PrefetchRule rule,
                                     const std::shared_ptr<const PastRoutes>& learned, std::int64_t warm_up) {
  if (rule.rule == Prefetch::kNextRouter) {
    fail(std::string(prefetch_name(rule)),
         "asks the model's routers, which no trace has: run the model with --prefetch");
  }
  auto past = std::make_shared<const PastRoutes>(past_routes_of(trace));
  if (learned && learned->experts != past->experts) fail(trace.source, "has not the routers that were learned from");
  const TracedStages traced = stages_of(trace);
  const ExpertStages stages = traced.stages();
  Predictor predictor(rule, stages, rule.rule == Prefetch::kOracle ? past : learned);
  OpenGuesses open{std::vector<std::vector<std::int32_t>>(past->experts.size()),
                   std::vector<bool>(past->experts.size())};
  PredictionQuality out{rule};
  for (std::int64_t t = 0; t < trace.tokens(); ++t) {
    for (int s = 0; s < stages.count(); ++s) {
      const std::span<const std::int32_t> asked = past->asked_by(t, s);
      const auto index = static_cast<std::size_t>(s);
      if (open.is_open[index] && t >= warm_up) {
        judge(open.experts[index], asked, static_cast<double>(traced.routers[index]->expert_bytes), out);
      }
      predictor.used(s, asked);
      const int target = predictor.target(s);
      if (target < 0) continue;
      predictor.predict(target, asked.size(), {}, open.experts[static_cast<std::size_t>(target)]);
      open.is_open[static_cast<std::size_t>(target)] = true;
    }
  }
  return out;
}

}  // namespace junto
