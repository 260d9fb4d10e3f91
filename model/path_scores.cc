// Which experts a pass will ask for, by a predictor of paths: what prefetching goes by.
#include <algorithm>

#include "model/forward_pass.h"
#include "model/path_predictor.h"

namespace junto {
namespace {

// More rows ask for most experts, and predicting them all would cost more than it saves.
constexpr std::int64_t kMostPathRows = 8;

/// The tokens of the row's sequence, itself the last.
void tokens_to(const Pass& pass, std::int64_t row, std::vector<std::int32_t>& out) {
  const PlacedRow& last = pass.rows[row];
  out = last.sequence->tokens;
  for (std::int64_t r = 0; r <= row; ++r) {
    if (pass.rows[r].sequence == last.sequence) out.push_back(pass.rows[r].token);
  }
}

/// Sums over rows of the chances of all stages; empty where a row has none.
void predict_rows(Pass& pass) {
  auto& paths = pass.w.paths;
  paths.known = true;
  paths.sums.clear();
  if (!paths.predictor) paths.predictor = std::make_shared<PathPredictor>(pass.model.paths, pass.pool);
  for (std::int64_t r = 0; r < pass.count(); ++r) {
    tokens_to(pass, r, paths.tokens);
    const std::span<const float> chances = paths.predictor->predict(paths.tokens);
    paths.sums.resize(chances.size());
    if (chances.empty()) return;
    for (std::size_t i = 0; i < chances.size(); ++i) paths.sums[i] += chances[i];
  }
}

}  // namespace

std::span<const float> path_scores(Pass& pass, ExpertStage stage) {
  const auto& blocks = pass.model.config.blocks;
  const auto experts_of = [&](int layer) {
    return static_cast<std::size_t>(blocks[static_cast<std::size_t>(layer)].moe.router.experts);
  };
  auto& paths = pass.w.paths;
  const std::size_t experts = experts_of(stage.layer);
  if (pass.count() > kMostPathRows) {
    paths.all.assign(experts, 1.0f);
    return paths.all;
  }
  if (!paths.known) predict_rows(pass);
  if (paths.sums.empty()) return {};
  std::size_t first = experts * static_cast<std::size_t>(stage.round);
  for (int layer = 0; layer < stage.layer; ++layer) {
    const BlockSpec& block = blocks[static_cast<std::size_t>(layer)];
    if (block.routed) first += experts_of(layer) * static_cast<std::size_t>(block.moe.rounds.count);
  }
  return std::span(paths.sums).subspan(first, experts);
}

void plan_experts(Pass& pass) {
  if (!pass.model.paths || !pass.model.cache) return;
  pass.w.paths.known = false;
  if (pass.count() == 0 || pass.count() > kMostPathRows) return;
  pass.model.cache->plan_pass([&](ExpertStage stage) { return path_scores(pass, stage); });
}

}  // namespace junto
