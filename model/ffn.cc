// The feed-forward half of a block: dense, routed, shared; joined now or a block later.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "model/forward_pass.h"
#include "moe/activate.h"

namespace junto {
namespace {

const LayerPolicy kModelsOwn;

// The trivial plan: every row to expert 0 with weight 1. A dense feed-forward is a mixture of one expert.
void plan_all_to_one(std::int64_t rows, Workspace& w) {
  if (w.unit_plan.units() == rows) return;
  w.unit_plan.clear();
  for (std::int64_t r = 0; r < rows; ++r) {
    w.unit_plan.expert.push_back(0);
    w.unit_plan.weight.push_back(1.0f);
    w.unit_plan.offset.push_back(static_cast<std::int32_t>(r + 1));
  }
  group_by_expert(w.unit_plan, 1, w.unit_groups);
}

// Whoever looks at hidden rows wants all of them; else many rows take turns in little memory.
void bound_hidden(const Pass& pass, ExpertScratch& scratch) {
  const bool watched = pass.hooks && pass.hooks->observes(Point::kGatedHidden);
  scratch.hidden_bytes = watched ? ExpertScratch::kAllHidden : ExpertScratch::kHiddenBytes;
}

void run_one(Pass& pass, const ExpertWeights& expert, MatrixView<float> out) {
  plan_all_to_one(pass.count(), pass.w);
  bound_hidden(pass, pass.w.dense);
  const ExpertWeights* experts[] = {&expert};
  run_experts(experts, pass.w.unit_plan, pass.w.unit_groups, WeightOn::kOutput, pass.activations, pass.w.normed_rows,
              pass.pool, pass.w.dense, out);
}

// Without the plan of whichever routed block came before.
void observe_dense(const Pass& pass, Point point, std::size_t block, MatrixView<const float> values) {
  if (!pass.hooks || !pass.hooks->observes(point)) return;
  Observation seen;
  seen.point = point;
  seen.block = static_cast<int>(block);
  seen.values = values;
  pass.hooks->observe(seen);
}

void observe_gated_hidden(const Pass& pass, std::size_t block) {
  if (!pass.hooks || !pass.hooks->observes(Point::kGatedHidden)) return;
  for (const ExpertScratch::Job& job : pass.w.experts.active_jobs()) {
    if (!has_weights(job.expert->kind)) continue;
    const ExpertScratch::Hidden& hidden = pass.w.experts.hidden[job.hidden];
    Observation seen;
    seen.point = Point::kGatedHidden;
    seen.block = static_cast<int>(block);
    seen.values = hidden.hidden.view().slice_rows(job.first_row, static_cast<std::int64_t>(job.slots.size()));
    seen.plan = &pass.w.plan;
    seen.groups = &pass.w.groups;
    seen.expert = job.id;
    seen.round = pass.w.round;
    pass.hooks->observe(seen);
  }
}

// A dense feed-forward, seen as its one expert: no plan, expert -1.
void run_dense(Pass& pass, std::size_t block, MatrixView<float> out) {
  observe_dense(pass, Point::kExpertInput, block, pass.w.normed.view());
  run_one(pass, pass.model.blocks[block].dense, out);
  observe_dense(pass, Point::kGatedHidden, block, pass.w.dense.hidden.front().hidden.view());
}

void add_rows(Pass& pass, MatrixView<const float> from, MatrixView<float> out) {
  for_each_row(pass, [&](std::int64_t r) {
    for (std::int64_t d = 0; d < out.cols; ++d) out.at(r, d) += from.at(r, d);
  });
}

void add_shared(Pass& pass, std::size_t block, MatrixView<float> out) {
  Workspace& w = pass.w;
  const MoeSpec& moe = pass.model.config.blocks[block].moe;
  const BlockWeights& weights = pass.model.blocks[block];
  const std::int64_t rows = pass.count();
  w.shared_output.resize(rows, out.cols);
  run_one(pass, weights.shared, w.shared_output.view());
  if (moe.shared_gate) {
    w.shared_gate.resize(rows, 1);
    const Projection gate[] = {{&weights.shared_gate, w.shared_gate.view()}};
    project(pass, w.normed_rows, gate);
  }
  for_each_row(pass, [&](std::int64_t r) {
    const float factor = moe.shared_gate ? 1.0f / (1.0f + std::exp(-w.shared_gate.view().at(r, 0))) : 1.0f;
    for (std::int64_t d = 0; d < out.cols; ++d) out.at(r, d) += factor * w.shared_output.view().at(r, d);
  });
}

// Whether the shared expert computes in this round.
bool has_shared(const Pass& pass, const MoeSpec& moe) {
  return moe.shared_expert && (!moe.rounds.shared_last || pass.w.round + 1 == moe.rounds.count);
}

// The shared expert as one more slot of every row, the last one with weight 1: its tasks join those of the routed
// experts instead of waiting for them in parallel regions of its own. The sum has the same order and so the same bits.
bool joins_routed(const Pass& pass, const MoeSpec& moe) {
  const bool watched =
      pass.hooks && (pass.hooks->observes(Point::kGatedHidden) || pass.hooks->observes(Point::kExpertOutput));
  return has_shared(pass, moe) && !moe.shared_gate && !watched && moe.input_scale == 1.0f;
}

// A shared expert reads what the router reads and needs no plan. For few rows, where a parallel region costs as much as
// a product, its first matrices are done in one with the router, and its down matrix while one thread makes the plan.
// With experts that are read from disk it computes while they come.
bool goes_beside_router(const Pass& pass, std::size_t block) {
  constexpr std::int64_t kFewRows = 4;
  return pass.count() <= kFewRows && !pass.model.cache && router_source(pass.model.config, block) == block;
}

// Fills `out` with the shared expert's first products; returns how many they are.
std::size_t first_of_shared(Pass& pass, const ExpertWeights& shared, std::span<Projection, 2> out) {
  Workspace& w = pass.w;
  w.shared_up.resize(pass.count(), shared.width());
  out[0] = {&shared.up, w.shared_up.view()};
  if (!shared.activation.gated) return 1;
  w.shared_first.resize(pass.count(), shared.width());
  out[1] = {&shared.gate, w.shared_first.view()};
  return 2;
}

void finish_hidden_of_shared(Pass& pass, const ExpertWeights& shared) {
  Workspace& w = pass.w;
  for (std::int64_t r = 0; r < pass.count(); ++r) {
    const bool gated = shared.activation.gated;
    activate(shared.activation, gated ? w.shared_first.view().row(r) : std::span<float>(), w.shared_up.view().row(r));
  }
  w.shared_rows.assign(w.shared_up.view());
  quantise_for(shared.down, pass.activations, w.shared_rows);
}

void plan_with_shared(int experts, Workspace& w) {
  w.joint_plan.clear();
  for (std::int64_t unit = 0; unit < w.plan.units(); ++unit) {
    for (std::int32_t slot = w.plan.offset[unit]; slot < w.plan.offset[unit + 1]; ++slot) {
      w.joint_plan.expert.push_back(w.plan.expert[slot]);
      w.joint_plan.weight.push_back(w.plan.weight[slot]);
    }
    w.joint_plan.expert.push_back(experts);
    w.joint_plan.weight.push_back(1.0f);
    w.joint_plan.offset.push_back(static_cast<std::int32_t>(w.joint_plan.expert.size()));
  }
  group_by_expert(w.joint_plan, experts + 1, w.joint_groups);
}

// The store counts routed experts; the shared one is among the block's own bytes.
void leave_out_shared(const ExpertWeights& shared, std::int64_t rows, ExpertUse& use) {
  use.rows -= rows;
  use.experts_read -= rows > 0 ? 1 : 0;
  use.bytes_read -= rows > 0 ? static_cast<std::int64_t>(shared.bytes()) : 0;
  use.flops -= rows * shared.flops_per_row();
}

// What routed experts read: the layer's input, or a multiple of it.
const ActivationRows& expert_input(Pass& pass, const MoeSpec& moe) {
  Workspace& w = pass.w;
  if (moe.input_scale == 1.0f) return w.normed_rows;
  const MatrixView<const float> from = std::as_const(w.normed).view();
  w.scaled_input.resize(pass.count(), from.cols);
  float* to = w.scaled_input.view().data;
  for (std::int64_t i = 0; i < pass.count() * from.cols; ++i) to[i] = moe.input_scale * from.data[i];
  take_rows(pass, w.scaled_input.view(), w.scaled_rows);
  return w.scaled_rows;
}

// Experts compute in the groups in which they come out of the cache; each slot has its row, so the order leaves no
// trace. Those that need no reading (zero, copy and constant ones, replaced ones, the shared one) go with the first.
ExpertUse run_streamed(Pass& pass, std::size_t block, const ActivationRows& input, const RoutePlan& plan,
                       ExpertGroups& groups, std::vector<const ExpertWeights*>& experts) {
  Workspace& w = pass.w;
  const MoeSpec& moe = pass.model.config.blocks[block].moe;
  const auto routed = pass.experts->layers[block].experts.size();
  ExpertCache& cache = *pass.model.cache;
  ExpertUse use;
  const auto compute = [&] {
    use += run_experts(experts, plan, groups, moe.router.weight_on, pass.activations, input, pass.pool, w.experts,
                       w.slot_output.view());
    observe_gated_hidden(pass, block);
  };
  w.streamed.clear();
  w.in_memory.clear();
  for (const std::int32_t e : groups.active) {
    const auto id = static_cast<std::size_t>(e);
    const bool here = id >= routed || !has_weights(experts[id]->kind) || experts[id]->version > 0;
    (here ? w.in_memory : w.streamed).push_back(e);
  }
  groups.active.swap(w.in_memory);
  if (w.streamed.empty()) compute();
  bool first = true;
  const ExpertStage stage(static_cast<int>(block), w.round);
  cache.run(
      stage, w.streamed,
      [&](std::span<const std::int32_t> ready) {
        if (!std::exchange(first, false)) groups.active.clear();
        groups.active.insert(groups.active.end(), ready.begin(), ready.end());
        std::ranges::sort(groups.active);
        for (const std::int32_t e : ready) {
          experts[static_cast<std::size_t>(e)] = cache.expert(static_cast<int>(block), e);
        }
        compute();
      },
      [&](ExpertStage next) { return guess_scores(pass, stage, next); }, pass.count());
  groups.active.swap(w.in_memory);
  return use;
}

// What the router of the block reads: the experts' input, or that of a block below.
const ActivationRows& router_input(Pass& pass, std::size_t block) {
  const std::size_t source = router_source(pass.model.config, block);
  if (source == block) return pass.w.normed_rows;
  take_rows(pass, pass.w.expert_inputs[source].view(), pass.w.router_rows);
  return pass.w.router_rows;
}

// Router logits [rows, E] in pass.w.router_logits. `beside`: see compute_router_logits().
void make_router_logits(Pass& pass, std::size_t block, const RouterWeights& router, const RouterSpec& spec, bool mixer,
                        std::span<const Projection> beside = {}) {
  Workspace& w = pass.w;
  w.router_logits.resize(pass.count(), spec.experts);
  const MatrixView<float> view = w.router_logits.view();
  compute_router_logits(pass, router, spec, mixer ? w.normed_rows : router_input(pass, block), view, beside);
  if (!mixer && pass.hooks && pass.hooks->edits(Point::kRouterLogits)) {
    pass.hooks->edit(Point::kRouterLogits, static_cast<int>(block), view);
  }
  observe(pass, Point::kRouterLogits, block, view, mixer);
  if (mixer || !pass.model.carries_logits) return;
  w.carried_logits.resize(pass.count(), spec.experts);
  std::copy_n(view.data, pass.count() * spec.experts, w.carried_logits.view().data);
  w.logits_are_carried = true;
}

// Weights that sum up to a whole sum up to it without the late ones, too.
Capacity::Drop drop_of(Weigh weigh) {
  const bool renormalised = weigh == Weigh::kRenormalised || weigh == Weigh::kSoftmaxOfChosen;
  return renormalised ? Capacity::Drop::kRenormalise : Capacity::Drop::kZero;
}

// The plan of all rows in pass.w.plan and its groups in pass.w.groups, from pass.w.router_logits.
void plan_rows(Pass& pass, std::size_t block, const RouterWeights& router, const RouterSpec& spec, bool mixer) {
  Workspace& w = pass.w;
  const std::int64_t rows = pass.count();
  const bool wants_scores = pass.hooks && pass.hooks->observes(Point::kRouterScores);
  if (wants_scores) w.scores.resize(rows, spec.experts);
  w.plan.clear();
  w.resident.clear();
  if (!mixer && is_streaming(pass.model)) look_at_residents(pass, block);
  w.late.assign(static_cast<std::size_t>(rows), std::nullopt);
  const int layer = pass.model.config.blocks[block].layer;
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto* policies = pass.rows[r].policies;
    const LayerPolicy& policy = policies && !mixer ? (*policies)[layer] : kModelsOwn;
    route_unit(spec, policy, w.router_logits.view().row(r), router.selection_bias, w.route, w.plan,
               wants_scores ? w.scores.view().row(r) : std::span<float>(), pass.rows[r].token, w.resident);
    if (policy.skip_late.value_or(false)) w.late[static_cast<std::size_t>(r)] = drop_of(w.route.compiled.spec.weigh);
  }
  if (pass.hooks && pass.hooks->edits(Point::kPlan)) {
    pass.hooks->edit_plan(static_cast<int>(block), mixer, w.plan);
    assert(w.plan.units() == rows);
  }
  if (!w.resident.empty()) leave_out_late(pass);
  group_by_expert(w.plan, spec.experts, w.groups);
  if (wants_scores) observe(pass, Point::kRouterScores, block, w.scores.view(), mixer);
  observe(pass, Point::kPlan, block, {}, mixer);
  DecoderCounters& c = pass.counters;
  c.routed_slots += w.plan.slots();
  c.possible_slots += rows * spec.experts;
  c.routed_rows += rows;
  if (mixer) return;
  c.slots_of_block[block] += w.plan.slots();
  if (w.round == 0) c.rows_of_block[block] += rows;
}

// The plan of the rows and, beside its making, what the shared expert adds, in w.shared_output.
void route_beside_shared(Pass& pass, std::size_t block, const RouterWeights& router, const RouterSpec& spec) {
  Workspace& w = pass.w;
  const ExpertWeights& shared = pass.model.blocks[block].shared;
  Projection first[2];
  const std::size_t count = first_of_shared(pass, shared, first);
  make_router_logits(pass, block, router, spec, false, std::span(first).first(count));
  finish_hidden_of_shared(pass, shared);
  w.shared_output.resize(pass.count(), pass.model.config.hidden_size);
  const Projection down[] = {{&shared.down, w.shared_output.view()}};
  project_beside(pass, w.shared_rows, down, [&] { plan_rows(pass, block, router, spec, false); });
}

ExpertUse run_chosen(Pass& pass, std::size_t block, const RoutePlan& plan, ExpertGroups& groups, bool joint) {
  Workspace& w = pass.w;
  const MoeSpec& moe = pass.model.config.blocks[block].moe;
  const ActivationRows& input = expert_input(pass, moe);
  observe(pass, Point::kExpertInput, block, moe.input_scale == 1.0f ? w.normed.view() : w.scaled_input.view());
  const auto& experts = pass.experts->layers[block].experts;
  if (joint || pass.model.cache) w.joint_experts.assign(experts.begin(), experts.end());
  if (joint) w.joint_experts.push_back(&pass.model.blocks[block].shared);
  w.slot_output.resize(plan.slots(), pass.model.config.hidden_size);
  bound_hidden(pass, w.experts);
  if (pass.model.cache) return run_streamed(pass, block, input, plan, groups, w.joint_experts);
  const ExpertUse use = run_experts(joint ? w.joint_experts : experts, plan, groups, moe.router.weight_on,
                                    pass.activations, input, pass.pool, w.experts, w.slot_output.view());
  observe_gated_hidden(pass, block);
  return use;
}

// One round: routes what w.normed_rows shows, and what it gives becomes `out`.
void run_round(Pass& pass, std::size_t block, MatrixView<float> out) {
  Workspace& w = pass.w;
  const MoeSpec& moe = pass.model.config.blocks[block].moe;
  const BlockWeights& weights = pass.model.blocks[block];
  const bool joins = joins_routed(pass, moe), beside = joins && goes_beside_router(pass, block);
  const bool joint = joins && !beside;
  const RouterWeights& router = weights.routers[static_cast<std::size_t>(moe.rounds.router_of(w.round))];
  if (beside)
    route_beside_shared(pass, block, router, moe.router);
  else
    route_rows(pass, block, router, moe.router, false);
  if (joint) plan_with_shared(moe.router.experts, w);
  const RoutePlan& plan = joint ? w.joint_plan : w.plan;
  ExpertUse use = run_chosen(pass, block, plan, joint ? w.joint_groups : w.groups, joint);
  if (joint) leave_out_shared(weights.shared, pass.count(), use);
  pass.counters.bytes_read += use.bytes_read;
  pass.model.experts->count(static_cast<int>(block), use);
  observe(pass, Point::kExpertOutput, block, w.slot_output.view());
  for_each_row(pass, [&](std::int64_t r) { combine(plan, w.slot_output.view(), r, r + 1, out, moe.router.weight_on); });
  if (beside) add_rows(pass, w.shared_output.view(), out);
  if (has_shared(pass, moe) && !joins) add_shared(pass, block, out);
  if (!weights.moe_bias.empty()) {
    for_each_row(pass, [&](std::int64_t r) {
      for (std::int64_t d = 0; d < out.cols; ++d) out.at(r, d) += weights.moe_bias[d];
    });
  }
}

// All rounds of the layer; between them w.normed is their state.
void run_routed(Pass& pass, std::size_t block, MatrixView<float> out) {
  Workspace& w = pass.w;
  const Rounds& rounds = pass.model.config.blocks[block].moe.rounds;
  if (pass.model.keeps_input[block]) {
    w.expert_inputs.resize(pass.model.config.blocks.size());
    Matrix<float>& kept = w.expert_inputs[block];
    kept.resize(pass.count(), out.cols);
    std::copy_n(w.normed.view().data, pass.count() * out.cols, kept.view().data);
  }
  w.round = 0;
  if (rounds.count == 1) return run_round(pass, block, out);
  w.round_output.resize(pass.count(), out.cols);
  const MatrixView<float> given = w.round_output.view(), state = w.normed.view();
  for (; w.round < rounds.count; ++w.round) {
    run_round(pass, block, given);
    for_each_row(pass, [&](std::int64_t r) {
      for (std::int64_t d = 0; d < out.cols; ++d) {
        out.at(r, d) = given.at(r, d) + (rounds.inner_residual && w.round > 0 ? out.at(r, d) : 0.0f);
        state.at(r, d) = given.at(r, d) + (rounds.inner_residual ? state.at(r, d) : 0.0f);
      }
    });
    if (w.round + 1 < rounds.count) take_rows(pass, state, w.normed_rows);
  }
  w.round = 0;
}

}  // namespace

void route_rows(Pass& pass, std::size_t block, const RouterWeights& router, const RouterSpec& spec, bool mixer) {
  make_router_logits(pass, block, router, spec, mixer);
  plan_rows(pass, block, router, spec, mixer);
}

void run_ffn(Pass& pass, std::size_t block) {
  Workspace& w = pass.w;
  const BlockSpec& spec = pass.model.config.blocks[block];
  const MatrixView<float> result = w.result.view();
  const bool later = spec.routed && spec.moe.join_after > 0;
  if (spec.routed) {
    if (later) w.shortcut.resize(pass.count(), result.cols);
    const MatrixView<float> out = later ? w.shortcut.view() : result;
    run_routed(pass, block, out);
  }
  if (spec.dense) {
    if (spec.routed && !later) {  // both on one input, summed
      w.shared_output.resize(pass.count(), result.cols);
      run_dense(pass, block, w.shared_output.view());
      add_rows(pass, w.shared_output.view(), result);
    } else {
      run_dense(pass, block, result);
    }
  }
}

}  // namespace junto
