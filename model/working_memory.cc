#include "model/working_memory.h"

#include <algorithm>
#include <set>

#include "model/forward_pass.h"

namespace junto {
namespace {

// Of rows and plans, whose lists have grown step by step and may be twice what they hold.
constexpr std::int64_t kRowBytes = 384;
constexpr std::int64_t kSlotBytes = 48;
constexpr std::int64_t kThreadBytes = std::int64_t{64} << 10;  // scores of attention, lists of tasks
constexpr std::int64_t kFloat = sizeof(float);

// The Q8 form of a row, padded to blocks of 256 columns.
std::int64_t q8_row_bytes(std::int64_t cols) {
  return (cols + 255) / 256 * 8 * static_cast<std::int64_t>(sizeof(Q8Group));
}

struct MixerWidths {
  std::int64_t turn = 0;       // floats of a row in Workspace::turns
  std::int64_t quantised = 0;  // bytes of a row in Q8 besides normed_rows
};

MixerWidths mixer_widths(const MixerSpec& mixer, std::int64_t hidden) {
  if (const auto* a = std::get_if<AttentionSpec>(&mixer)) {
    const std::int64_t q = std::int64_t{a->heads} * a->head_dim, kv = std::int64_t{a->kv_heads} * a->head_dim;
    return {(a->output_gate ? 3 : 2) * q + 2 * kv, q8_row_bytes(q)};
  }
  if (const auto* m = std::get_if<MlaSpec>(&mixer)) {
    const std::int64_t key = m->kv_rank + m->rope_dim, heads = m->heads;
    return {heads * (m->nope_dim + m->rope_dim + key + m->kv_rank + m->value_dim) + key + m->q_rank,
            q8_row_bytes(heads * m->value_dim) + (m->q_rank > 0 ? q8_row_bytes(m->q_rank) : 0) +
                heads * std::max(q8_row_bytes(m->kv_rank), q8_row_bytes(m->nope_dim))};
  }
  if (std::holds_alternative<ShortConvSpec>(mixer)) return {4 * hidden, q8_row_bytes(hidden)};
  const auto& e = std::get<ExpertAttentionSpec>(mixer);
  const std::int64_t size = std::int64_t{e.attention.kv_heads} * e.attention.head_dim;
  const std::int64_t most = max_experts_per_unit(e.router);
  return {2 * most * size + 2 * size + most * hidden, most * q8_row_bytes(size)};
}

// Of the experts' outputs, with a shared expert's and a dense part's.
std::int64_t ffn_turn_values(const BlockSpec& block, std::int64_t hidden) {
  const bool beside = block.routed && (block.moe.shared_expert || block.dense);
  return ((block.routed ? max_experts_per_unit(block.moe.router) : 0) + (beside ? 1 : 0)) * hidden;
}

// Hidden rows of a block's experts: with widths that differ, two matrices may each have had a whole part.
std::int64_t expert_scratch_bytes(const Model& model, std::size_t block, std::int64_t rows) {
  const MoeSpec& moe = model.config.blocks[block].moe;
  std::set<std::int64_t> widths;
  for (const ExpertWeights* expert : model.experts->snapshot()->layers[block].experts) {
    if (has_weights(expert->kind)) widths.insert(expert->width());
  }
  if (moe.shared_expert) widths.insert(model.blocks[block].shared.width());
  if (widths.empty()) return 0;
  const std::int64_t pairs = rows * (max_experts_per_unit(moe.router) + (moe.shared_expert ? 1 : 0));
  const std::int64_t hidden = hidden_scratch_bytes(*widths.rbegin(), pairs) * (widths.size() > 1 ? 2 : 1);
  const std::int64_t input = model.config.hidden_size * kFloat + q8_row_bytes(model.config.hidden_size);
  return hidden + (moe.router.weight_on == WeightOn::kInput ? pairs * input : 0);
}

// Matrices [rows, D] that only some blocks need, in float.
int extra_states(const Model& model) {
  bool moments = false, ahead = false, restarts = false, again = false, shortcut = false, scaled = false;
  bool rounds = false;
  for (const BlockSpec& block : model.config.blocks) {
    again = again || block.ffn_norm.again;
    if (!block.routed) continue;
    const auto* ball = std::get_if<HeavyBall>(&block.moe.residual);
    moments = moments || carries_moments(block.moe.residual);
    ahead = ahead || (ball != nullptr && ball->look_ahead != 0);
    restarts = restarts || std::holds_alternative<Restart>(block.moe.residual);
    shortcut = shortcut || block.moe.join_after > 0;
    scaled = scaled || block.moe.input_scale != 1.0f;
    rounds = rounds || block.moe.rounds.count > 1;
  }
  const auto kept = static_cast<int>(std::ranges::count(model.keeps_input, true));
  return (moments ? 3 : 0) + ahead + restarts + again + shortcut + 2 * scaled + rounds + kept;
}

}  // namespace

std::int64_t turn_values_per_row(const ModelConfig& config) {
  std::int64_t most = 0;
  for (const BlockSpec& block : config.blocks) {
    most = std::max(
        {most, mixer_widths(block.mixer, config.hidden_size).turn, ffn_turn_values(block, config.hidden_size)});
  }
  return most;
}

std::int64_t working_bytes(const Model& model, ActivationType activations, std::int64_t rows, int threads) {
  const ModelConfig& config = model.config;
  const std::int64_t hidden = config.hidden_size;
  const bool q8 = activations == ActivationType::kQ8 && model.quantised;
  std::int64_t mixers_q8 = 0, router = 0, slots = 0, scratch = 0, dense = 0;
  for (std::size_t b = 0; b < config.blocks.size(); ++b) {
    const BlockSpec& block = config.blocks[b];
    mixers_q8 = std::max(mixers_q8, mixer_widths(block.mixer, hidden).quantised);
    if (block.dense) dense = std::max(dense, hidden_scratch_bytes(model.blocks[b].dense.width(), rows));
    if (!block.routed) continue;
    const MoeSpec& moe = block.moe;
    if (moe.shared_expert && moe.shared_gate) {
      dense = std::max(dense, hidden_scratch_bytes(model.blocks[b].shared.width(), rows));
    }
    router = std::max<std::int64_t>(router, 3 * moe.router.experts + 2 * moe.router.logits_hidden);
    slots = std::max<std::int64_t>(slots, max_experts_per_unit(moe.router) + (moe.shared_expert ? 1 : 0));
    scratch = std::max(scratch, expert_scratch_bytes(model, b, rows));
  }
  std::int64_t angles = 0;
  for (const Rope& rope : config.ropes) angles += rope.dims;
  const std::int64_t floats = (3 + extra_states(model)) * hidden + turn_values_per_row(config) + router + angles;
  const std::int64_t quantised = q8 ? q8_row_bytes(hidden) + mixers_q8 : 0;
  const std::int64_t per_row = floats * kFloat + quantised + kRowBytes + slots * kSlotBytes;
  return rows * per_row + scratch + dense + threads * kThreadBytes + 2 * (config.outputs() + hidden) * kFloat;
}

}  // namespace junto
