#include "model/decoder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "base/error.h"
#include "model/forward_pass.h"
#include "model/rope.h"
#include "model/working_memory.h"

namespace junto {

struct Decoder::State {
  Workspace w;
  DecoderCounters counters;
  std::vector<PlacedRow> rows;
  std::map<const RoutingPolicy*, std::vector<LayerPolicy>> policies;
  std::vector<std::int64_t> lengths;  // of the sequences before the call
  std::vector<Matrix<float>> hidden;
  Matrix<float> logits, logit_inputs;
  ActivationRows logit_rows;
};

namespace {

const std::vector<LayerPolicy>* policies_of(const RoutingPolicy& policy, const Model& model,
                                            std::map<const RoutingPolicy*, std::vector<LayerPolicy>>& known) {
  if (policy.empty()) return nullptr;
  const auto [entry, added] = known.try_emplace(&policy);
  if (!added) return &entry->second;
  const std::vector<int> experts = experts_of_layers(model.config);
  check_policy(policy, experts, "policy");
  if (!is_streaming(model)) check_policy_of_resident_experts(policy, model.path);
  for (std::size_t layer = 0; layer < experts.size(); ++layer)
    entry->second.push_back(policy.for_layer(static_cast<int>(layer)));
  return &entry->second;
}

void check_row(const Row& row, std::int64_t position, std::size_t sequences, const Model& model) {
  const ModelConfig& config = model.config;
  if (row.sequence < 0 || static_cast<std::size_t>(row.sequence) >= sequences)
    fail("forward", "row names sequence " + std::to_string(row.sequence) + " of " + std::to_string(sequences));
  if (row.position >= 0 && row.position != position) {
    fail("forward", "row has position " + std::to_string(row.position) + ", expected " + std::to_string(position));
  }
  if (position >= config.context_length) {
    fail(model.path, "position " + std::to_string(position) + " is beyond the context of " +
                         std::to_string(config.context_length) + " tokens");
  }
  if (!row.embedding.empty()) {
    if (static_cast<std::int64_t>(row.embedding.size()) != config.hidden_size) {
      fail("forward", "embedding has " + std::to_string(row.embedding.size()) + " values, expected " +
                          std::to_string(config.hidden_size));
    }
  } else if (row.token < 0 || row.token >= config.vocab_size) {
    fail(model.path, "token id " + std::to_string(row.token) + " is outside the vocabulary, 0.." +
                         std::to_string(config.vocab_size - 1));
  }
}

// Puts rows into their sequences' order; nothing is changed yet, so that a bad row leaves everything as it was.
void place_rows(const Batch& batch, const Model& model, std::vector<PlacedRow>& rows,
                std::map<const RoutingPolicy*, std::vector<LayerPolicy>>& policies,
                std::vector<std::int64_t>& lengths) {
  policies.clear();
  rows.clear();
  lengths.clear();
  for (const Sequence* sequence : batch.sequences) lengths.push_back(sequence->length());
  std::vector<std::int64_t> next = lengths;
  for (const Row& row : batch.rows) {
    const std::size_t index = static_cast<std::size_t>(row.sequence);
    check_row(row, index < next.size() ? next[index] : 0, batch.sequences.size(), model);
    Sequence* sequence = batch.sequences[index];
    const std::int64_t position = next[index]++;
    rows.push_back({sequence, position, row.embedding.empty() ? row.token : kNoToken, position + 1,
                    policies_of(row.policy ? *row.policy : sequence->policy, model, policies), row.logits});
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (batch.rows[r].mask == AttentionMask::kWholeCall) rows[r].visible_end = next[batch.rows[r].sequence];
  }
}

void embed(Pass& pass, std::span<const Row> rows) {
  const Model& model = pass.model;
  pass.w.x.resize(pass.count(), model.config.hidden_size);
  for_each_row(pass, [&](std::int64_t r) {
    const std::span<float> out = pass.w.x.view().row(r);
    if (!rows[r].embedding.empty()) {
      std::copy(rows[r].embedding.begin(), rows[r].embedding.end(), out.begin());
      return;  // as it is: whoever makes embeddings scales them
    }
    decode_row(model.token_embedding, rows[r].token, out);
    if (model.config.embedding_multiplier == 1.0f) return;
    for (float& value : out) value *= model.config.embedding_multiplier;
  });
}

void prepare_angles(Pass& pass) {
  const ModelConfig& config = pass.model.config;
  pass.w.angles.resize(config.ropes.size());
  for (std::size_t i = 0; i < config.ropes.size(); ++i) {
    Angles& angles = pass.w.angles[i];
    angles.cosines.resize(pass.count(), config.ropes[i].dims / 2);
    angles.sines.resize(pass.count(), config.ropes[i].dims / 2);
  }
  for_each_row(pass, [&](std::int64_t r) {
    for (std::size_t i = 0; i < config.ropes.size(); ++i) {
      Angles& angles = pass.w.angles[i];
      rope_angles(config.ropes[i], pass.planned_length > config.ropes[i].original_context, pass.rows[r].position,
                  angles.cosines.view().row(r).data(), angles.sines.view().row(r).data());
    }
  });
}

// w.normed = what the sublayer reads; its Q8 form beside it.
void enter_sublayer(Pass& pass, const NormWeights& norm, bool pre) {
  Workspace& w = pass.w;
  for_each_row(pass, [&](std::int64_t r) {
    const std::span<const float> from = w.x.view().row(r);
    const std::span<float> to = w.normed.view().row(r);
    if (pre)
      apply_norm(pass.model.config, norm, from, to);
    else
      std::copy(from.begin(), from.end(), to.begin());
  });
  take_rows(pass, w.normed.view(), w.normed_rows);
}

// x = sum_norm(x + residual_multiplier * post_norm(result)), with the norms that are there.
void leave_sublayer(Pass& pass, const NormPlacement& placed, const NormWeights& post_norm,
                    const NormWeights& sum_norm) {
  Workspace& w = pass.w;
  const float factor = pass.model.config.residual_multiplier;
  for_each_row(pass, [&](std::int64_t r) {
    const std::span<float> result = w.result.view().row(r);
    if (placed.post) apply_norm(pass.model.config, post_norm, result, result);
    const std::span<float> x = w.x.view().row(r);
    for (std::size_t d = 0; d < x.size(); ++d) x[d] += factor * result[d];
    if (placed.sum) apply_norm(pass.model.config, sum_norm, x, x);
  });
}

// The feed-forward reads x, or looks ahead along the momentum of the routed layers below.
void enter_ffn(Pass& pass, std::size_t block) {
  Workspace& w = pass.w;
  const BlockSpec& spec = pass.model.config.blocks[block];
  const auto* ball = std::get_if<HeavyBall>(&spec.moe.residual);
  const float ahead = spec.routed && ball != nullptr ? ball->look_ahead : 0.0f;
  if (ahead == 0.0f) return enter_sublayer(pass, pass.model.blocks[block].ffn_norm, spec.ffn_norm.pre);
  w.look_back.assign(w.x.view().data, w.x.view().data + w.x.rows * w.x.cols);
  for_each_row(pass, [&](std::int64_t r) {
    for (std::int64_t d = 0; d < w.x.cols; ++d) w.x.view().at(r, d) += ahead * w.momentum.view().at(r, d);
  });
  enter_sublayer(pass, pass.model.blocks[block].ffn_norm, spec.ffn_norm.pre);
  std::copy(w.look_back.begin(), w.look_back.end(), w.x.view().data);
}

// What the block's experts gave joins x by the block's rule. `read` [rows, D]: what they read, for Restart.
void leave_routed(Pass& pass, std::size_t block, MatrixView<const float> read) {
  Workspace& w = pass.w;
  const BlockSpec& spec = pass.model.config.blocks[block];
  const float factor = pass.model.config.residual_multiplier;
  for_each_row(pass, [&](std::int64_t r) {
    const std::span<float> result = w.result.view().row(r);
    if (spec.ffn_norm.post) apply_norm(pass.model.config, pass.model.blocks[block].ffn_post_norm, result, result);
    for (float& value : result) value *= factor;
    Moments moments;
    if (carries_moments(spec.moe.residual)) {
      moments = {w.momentum.view().row(r), w.first_moment.view().row(r), w.second_moment.view().row(r)};
    }
    const std::span<float> x = w.x.view().row(r);
    join_residual(spec.moe.residual, result, read.rows > 0 ? read.row(r) : std::span<const float>(), moments, x);
    if (spec.ffn_norm.sum) apply_norm(pass.model.config, pass.model.blocks[block].ffn_sum_norm, x, x);
  });
}

// What x was before the layer joins once more.
void join_again(Pass& pass, const NormWeights& norm) {
  Workspace& w = pass.w;
  for_each_row(pass, [&](std::int64_t r) {
    const std::span<float> x = w.x.view().row(r);
    const std::span<const float> before = w.before_ffn.view().row(r);
    for (std::size_t d = 0; d < x.size(); ++d) x[d] += before[d];
    apply_norm(pass.model.config, norm, x, x);
  });
}

// Moments begin at zero with every pass: a row's layers, not its neighbours or its past, are what they run over.
void clear_carries(Pass& pass) {
  Workspace& w = pass.w;
  w.logits_are_carried = false;
  for (Matrix<float>& kept : w.expert_inputs) kept.rows = 0;
  const auto& blocks = pass.model.config.blocks;
  if (std::none_of(blocks.begin(), blocks.end(),
                   [](const BlockSpec& block) { return block.routed && carries_moments(block.moe.residual); })) {
    return;
  }
  for (Matrix<float>* moment : {&w.momentum, &w.first_moment, &w.second_moment}) {
    moment->resize(pass.count(), pass.model.config.hidden_size);
    std::fill_n(moment->view().data, moment->rows * moment->cols, 0.0f);
  }
}

void run_ffn_sublayer(Pass& pass, std::size_t block) {
  const BlockSpec& spec = pass.model.config.blocks[block];
  enter_ffn(pass, block);
  Matrix<float>& read = pass.w.restart_input;
  read.resize(0, pass.w.normed.cols);
  const bool restarts = spec.routed && std::holds_alternative<Restart>(spec.moe.residual);
  if (restarts) {
    read.resize(pass.count(), pass.w.normed.cols);
    std::copy_n(pass.w.normed.view().data, read.rows * read.cols, read.view().data);
  }
  if (spec.ffn_norm.again) {
    pass.w.before_ffn.resize(pass.count(), pass.w.x.cols);
    std::copy_n(pass.w.x.view().data, pass.count() * pass.w.x.cols, pass.w.before_ffn.view().data);
  }
  pass.w.turns.begin();
  run_ffn(pass, block);
  observe(pass, Point::kFfnOutput, block, pass.w.result.view());
  const BlockWeights& weights = pass.model.blocks[block];
  if (spec.routed && spec.moe.residual != ResidualRule(AddResidual())) {
    leave_routed(pass, block, std::as_const(read).view());
  } else {
    leave_sublayer(pass, spec.ffn_norm, weights.ffn_post_norm, weights.ffn_sum_norm);
  }
  if (spec.ffn_norm.again) join_again(pass, weights.ffn_second_norm);
}

void run_mixer(Pass& pass, std::size_t block) {
  const BlockSpec& spec = pass.model.config.blocks[block];
  const MixerWeights& weights = pass.model.blocks[block].mixer;
  if (const auto* a = std::get_if<AttentionSpec>(&spec.mixer))
    return run_attention(pass, block, *a, std::get<AttentionWeights>(weights));
  if (const auto* m = std::get_if<MlaSpec>(&spec.mixer)) return run_mla(pass, block, *m, std::get<MlaWeights>(weights));
  if (const auto* c = std::get_if<ShortConvSpec>(&spec.mixer))
    return run_short_conv(pass, block, *c, std::get<ShortConvWeights>(weights));
  run_expert_attention(pass, block, std::get<ExpertAttentionSpec>(spec.mixer),
                       std::get<ExpertAttentionWeights>(weights));
}

void edit_hidden(Pass& pass, Point point, std::size_t block) {
  if (pass.hooks && pass.hooks->edits(point)) pass.hooks->edit(point, static_cast<int>(block), pass.w.x.view());
  observe(pass, point, block, pass.w.x.view());
}

void join_shortcut(Pass& pass, std::size_t block) {
  if (block == 0) return;
  const BlockSpec& before = pass.model.config.blocks[block - 1];
  if (!before.routed || before.moe.join_after != 1) return;
  for_each_row(pass, [&](std::int64_t r) {
    const std::span<float> x = pass.w.x.view().row(r);
    for (std::size_t d = 0; d < x.size(); ++d) x[d] += pass.w.shortcut.view().at(r, static_cast<std::int64_t>(d));
  });
}

void run_block(Pass& pass, std::size_t block) {
  const BlockSpec& spec = pass.model.config.blocks[block];
  const BlockWeights& weights = pass.model.blocks[block];
  edit_hidden(pass, Point::kBlockInput, block);
  enter_sublayer(pass, weights.mixer_norm, spec.mixer_norm.pre);
  pass.w.turns.begin();
  run_mixer(pass, block);
  keep_wanted(pass, block);
  observe(pass, Point::kMixerOutput, block, pass.w.result.view());
  leave_sublayer(pass, spec.mixer_norm, weights.mixer_post_norm, weights.mixer_sum_norm);
  run_ffn_sublayer(pass, block);
  join_shortcut(pass, block);
  edit_hidden(pass, Point::kBlockOutput, block);
}

void finish_logits(const ModelConfig& config, MatrixView<float> logits) {
  if (config.logit_multiplier == 1.0f && config.logit_softcap <= 0) return;
  for (std::int64_t r = 0; r < logits.rows; ++r) {
    for (float& value : logits.row(r)) {
      value *= config.logit_multiplier;
      if (config.logit_softcap > 0) value = config.logit_softcap * std::tanh(value / config.logit_softcap);
    }
  }
}

}  // namespace

Decoder::Decoder(std::shared_ptr<const Model> model, ThreadPool& pool, DecoderOptions options)
    : model_(std::move(model)),
      pool_(pool),
      options_(options),
      layout_(make_kv_layout(model_->config, options.kv)),
      state_(std::make_unique<State>()) {
  reset_counters();
}

Decoder::~Decoder() = default;

Outputs Decoder::forward(const Batch& batch) {
  State& s = *state_;
  place_rows(batch, *model_, s.rows, s.policies, s.lengths);
  Pass pass{*model_,
            pool_,
            layout_,
            options_.activations,
            options_.planned_length,
            batch.hooks,
            s.rows,
            model_->experts->snapshot(),
            s.w,
            s.counters};
  for (const PlacedRow& row : s.rows) writable_page(*row.sequence, layout_, row.position);
  const std::int64_t rows = pass.count(), hidden = model_->config.hidden_size;
  pass.narrows = model_->can_narrow && batch.hooks == nullptr && batch.hidden_blocks.empty() &&
                 !std::ranges::all_of(s.rows, &PlacedRow::wanted);
  s.w.turns.begin();
  s.w.turns.reserve(rows * turn_values_per_row(model_->config));
  embed(pass, batch.rows);
  prepare_angles(pass);
  s.w.normed.resize(rows, hidden);
  s.w.result.resize(rows, hidden);
  clear_carries(pass);
  plan_experts(pass);
  Outputs out;
  s.hidden.resize(batch.hidden_blocks.size());
  for (std::size_t block = 0; rows > 0 && block < model_->config.blocks.size(); ++block) {
    run_block(pass, block);
    for (std::size_t i = 0; i < s.hidden.size(); ++i) {
      if (batch.hidden_blocks[i] != static_cast<int>(block)) continue;
      s.hidden[i].resize(rows, hidden);
      std::copy_n(s.w.x.view().data, rows * hidden, s.hidden[i].view().data);
    }
  }
  for (const Matrix<float>& values : s.hidden) out.hidden.push_back(values.view());

  std::vector<std::int64_t> wanted;
  for (std::int64_t r = 0; r < pass.count(); ++r) {
    if (pass.rows[r].wanted) wanted.push_back(r);
  }
  const auto count = static_cast<std::int64_t>(wanted.size());
  s.logits.resize(count, model_->config.outputs());
  if (count > 0) {
    s.logit_inputs.resize(count, hidden);
    for (std::int64_t i = 0; i < count; ++i) {
      apply_norm(model_->config, model_->output_norm, s.w.x.view().row(wanted[i]), s.logit_inputs.view().row(i));
    }
    s.logit_rows.assign(s.logit_inputs.view());
    if (options_.activations == ActivationType::kQ8 && model_->quantised) s.logit_rows.quantise_all();
    const Projection head[] = {{&model_->output, s.logits.view()}};
    project(pass, s.logit_rows, head);
    finish_logits(model_->config, s.logits.view());
    s.counters.bytes_read += static_cast<std::int64_t>(model_->output.weights.bytes());
  }
  out.logits = std::as_const(s.logits).view();
  for (std::size_t r = 0; r < s.rows.size(); ++r)
    s.rows[r].sequence->tokens.push_back(batch.rows[r].embedding.empty() ? batch.rows[r].token : kNoToken);
  s.counters.rows += rows;
  s.counters.calls += 1;
  s.counters.bytes_read += static_cast<std::int64_t>(model_->block_bytes);
  return out;
}

std::span<const float> Decoder::feed(Sequence& sequence, std::span<const std::int32_t> tokens, int chunk,
                                     const Hooks* hooks) {
  if (tokens.empty()) fail("feed", "no tokens given");
  Sequence* const sequences[] = {&sequence};
  const std::size_t step = chunk <= 0 ? tokens.size() : static_cast<std::size_t>(chunk);
  std::vector<Row> rows;
  Outputs out;
  for (std::size_t begin = 0; begin < tokens.size(); begin += step) {
    rows.clear();
    for (std::size_t i = begin; i < std::min(tokens.size(), begin + step); ++i) {
      Row row;
      row.token = tokens[i];
      row.logits = i + 1 == tokens.size();
      rows.push_back(row);
    }
    Batch batch;
    batch.sequences = sequences;
    batch.rows = rows;
    batch.hooks = hooks;
    out = forward(batch);
  }
  return out.logits.row(0);
}

const DecoderCounters& Decoder::counters() const {
  return state_->counters;
}

void Decoder::reset_counters() {
  state_->counters = DecoderCounters();
  state_->counters.slots_of_block.assign(model_->config.blocks.size(), 0);
  state_->counters.rows_of_block.assign(model_->config.blocks.size(), 0);
}

}  // namespace junto
