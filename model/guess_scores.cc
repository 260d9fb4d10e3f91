// Which experts a block will ask for, by its router on an earlier hidden state: what prefetching goes by.
#include <algorithm>

#include "model/forward_pass.h"

namespace junto {
namespace {

constexpr std::int64_t kMostRows = 8;
const LayerPolicy kUnchanged;

}  // namespace

std::span<const float> guess_scores(Pass& pass, ExpertStage stage, ExpertStage later) {
  const auto block = static_cast<std::size_t>(later.layer);
  const BlockSpec& spec = pass.model.config.blocks[block];
  const bool in_layer = later.layer == stage.layer && later.round > stage.round;
  if (!spec.routed || (later.layer <= stage.layer && !in_layer)) return {};
  if (pass.model.paths) return path_scores(pass, later);
  auto& next = pass.w.next;
  const BlockWeights& weights = pass.model.blocks[block];
  const RouterWeights& weights_of_router =
      weights.routers[static_cast<std::size_t>(spec.moe.rounds.router_of(later.round))];
  const RouterSpec& router = spec.moe.router;
  const std::int64_t rows = pass.count();
  next.scores.assign(static_cast<std::size_t>(router.experts), rows > kMostRows ? 1.0f : 0.0f);
  if (rows > kMostRows) return next.scores;
  next.normed.resize(rows, pass.w.x.cols);
  // A router that reads a block below is no guess: its input is there already. Rounds read what the one before gives to
  // their state, which is not normalised between them.
  const std::size_t source = router_source(pass.model.config, block);
  const bool known = later.round == 0 && source != block && source < pass.w.expert_inputs.size() &&
                     pass.w.expert_inputs[source].rows == rows;
  const Matrix<float>& from_rows = in_layer ? pass.w.normed : known ? pass.w.expert_inputs[source] : pass.w.x;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::span<const float> from = from_rows.view().row(r);
    const std::span<float> to = next.normed.view().row(r);
    spec.ffn_norm.pre && !known && !in_layer ? apply_norm(pass.model.config, weights.ffn_norm, from, to)
                                             : static_cast<void>(std::copy(from.begin(), from.end(), to.begin()));
  }
  take_rows(pass, next.normed.view(), next.rows);
  next.logits.resize(rows, router.experts);
  compute_router_logits(pass, weights_of_router, router, next.rows, next.logits.view());
  next.plan.clear();
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto* policies = pass.rows[r].policies;
    const LayerPolicy& policy = policies ? (*policies)[spec.layer] : kUnchanged;
    route_unit(router, policy, next.logits.view().row(r), weights_of_router.selection_bias, pass.w.route, next.plan, {},
               pass.rows[r].token);
  }
  for (std::size_t slot = 0; slot < next.plan.expert.size(); ++slot) {
    next.scores[static_cast<std::size_t>(next.plan.expert[slot])] += next.plan.weight[slot];
  }
  return next.scores;
}

}  // namespace junto
