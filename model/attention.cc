// Multi-head attention over the paged cache.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/norm.h"
#include "model/forward_pass.h"

namespace junto {
namespace {

// x / rms(x) per head without weights (Llama 4).
void l2_norm_heads(std::span<float> row, int head_dim, float eps) {
  for (std::size_t begin = 0; begin < row.size(); begin += head_dim) {
    const std::span<float> head = row.subspan(begin, head_dim);
    rms_norm(head, {}, eps, head);
  }
}

struct RowMaths {
  const ModelConfig& config;
  const AttentionSpec& spec;
  const AttentionWeights& weights;

  void normalise(std::span<float> row, std::span<const float> weight) const {
    if (spec.qk_norm == QkNorm::kL2) return l2_norm_heads(row, spec.head_dim, config.norm_eps);
    if (spec.qk_norm == QkNorm::kFullWidth) return rms_norm(row, weight, config.norm_eps, row);
    if (spec.qk_norm != QkNorm::kPerHead) return;
    for (std::size_t begin = 0; begin < row.size(); begin += spec.head_dim) {
      const std::span<float> head = row.subspan(begin, spec.head_dim);
      rms_norm(head, weight, config.norm_eps, head);
    }
  }

  void clip(std::span<float> row) const {
    if (spec.clip_qkv <= 0) return;
    for (float& value : row) value = std::clamp(value, -spec.clip_qkv, spec.clip_qkv);
  }

  void rotate(std::span<float> row, const Angles& angles, std::int64_t r) const {
    const Rope& rope = config.ropes[spec.rope];
    for (std::size_t begin = 0; begin < row.size(); begin += spec.head_dim) {
      rotate_head(rope, angles.cosines.view().row(r), angles.sines.view().row(r), row.subspan(begin, spec.head_dim));
    }
  }

  /// Norm, clip, rotation: in the order that the published models have.
  void place(std::span<float> row, std::span<const float> norm, const std::vector<Angles>& angles,
             std::int64_t r) const {
    if (!spec.norm_after_rope) normalise(row, norm);
    clip(row);
    if (spec.rope >= 0) rotate(row, angles[spec.rope], r);
    if (spec.norm_after_rope) normalise(row, norm);
  }

  // Llama 4's temperature for layers without rotation.
  void heat(std::span<float> q, std::int64_t position) const {
    if (spec.temperature_floor <= 0) return;
    const float steps = std::floor((static_cast<float>(position) + 1.0f) / spec.temperature_floor);
    const float factor = std::log1p(steps) * spec.temperature_slope + 1.0f;
    for (float& value : q) value *= factor;
  }
};

void store_heads(std::span<const float> row, const KvRegion& region, KvPage& page, int slot, bool values) {
  const int dim = values ? region.value_dim : region.key_dim;
  for (int h = 0; h < region.heads; ++h) {
    const std::span<const float> head = row.subspan(static_cast<std::size_t>(h) * dim, dim);
    if (values)
      store_row(head, region.type, page.value(region, h, slot));
    else
      store_page_key(head, region.type, page.key(region, h, 0), slot);
  }
}

}  // namespace

void run_attention(Pass& pass, std::size_t block, const AttentionSpec& spec, const AttentionWeights& weights) {
  Workspace& w = pass.w;
  const std::int64_t rows = pass.count();
  const std::int64_t q_size = std::int64_t{spec.heads} * spec.head_dim,
                     kv_size = std::int64_t{spec.kv_heads} * spec.head_dim;
  w.k.resize(rows, kv_size);
  w.v.resize(rows, kv_size);
  const Projection keys_values[] = {{&weights.k, w.k.view()}, {&weights.v, w.v.view()}};
  const auto queries = [&] {
    w.q.resize(pass.count(), q_size);
    std::vector<Projection> out = {{&weights.q, w.q.view()}};
    if (spec.output_gate) {
      w.gate.resize(pass.count(), q_size);
      out.push_back({&weights.gate, w.gate.view()});
    }
    return out;
  };
  const KvRegion& region = pass.layout.blocks[block];
  const RowMaths maths{pass.model.config, spec, weights};
  const auto finish_query = [&](std::int64_t r) {
    maths.place(w.q.view().row(r), weights.q_norm, w.angles, r);
    maths.heat(w.q.view().row(r), pass.rows[r].position);
  };
  const auto finish_key_and_value = [&](std::int64_t r) {
    const PlacedRow& row = pass.rows[r];
    KvPage& page = *row.sequence->pages[row.position / kPagePositions];
    const int slot = static_cast<int>(row.position % kPagePositions);
    maths.place(w.k.view().row(r), weights.k_norm, w.angles, r);
    maths.clip(w.v.view().row(r));
    store_heads(w.k.view().row(r), region, page, slot, false);
    store_heads(w.v.view().row(r), region, page, slot, true);
  };
  if (narrows_in(pass, block)) {
    project(pass, w.normed_rows, keys_values);
    for_each_row(pass, finish_key_and_value);
    keep_wanted(pass, block);
    project(pass, w.normed_rows, queries());
    for_each_row(pass, finish_query);
  } else {
    std::vector<Projection> all = queries();
    all.insert(all.end(), std::begin(keys_values), std::end(keys_values));
    project(pass, w.normed_rows, all);
    for_each_row(pass, [&](std::int64_t r) {
      finish_query(r);
      finish_key_and_value(r);
    });
  }
  w.mixed.resize(pass.count(), q_size);

  Attend attention;
  attention.units = spec.kv_heads;
  attention.heads_per_unit = spec.heads / spec.kv_heads;
  attention.key_dim = attention.value_dim = spec.head_dim;
  attention.scale = spec.scale;
  attention.softcap = spec.softcap;
  attention.window = spec.window;
  attention.chunk = spec.chunk;
  attention.sinks = weights.sinks;
  attend(pass, region, attention, w.q.view(), w.mixed.view());
  if (spec.output_gate) {
    for_each_row(pass, [&](std::int64_t r) {
      for (std::int64_t i = 0; i < q_size; ++i) w.mixed.view().at(r, i) /= 1.0f + std::exp(-w.gate.view().at(r, i));
    });
  }
  take_rows(pass, w.mixed.view(), w.mixed_rows);
  const Projection output[] = {{&weights.output, w.result.view()}};
  project(pass, w.mixed_rows, output);
}

void run_expert_attention(Pass& pass, std::size_t block, const ExpertAttentionSpec& spec,
                          const ExpertAttentionWeights& weights) {
  Workspace& w = pass.w;
  const AttentionSpec& a = spec.attention;
  const std::int64_t rows = pass.count(), size = std::int64_t{a.kv_heads} * a.head_dim;
  route_rows(pass, block, weights.router, spec.router, true);
  const std::int64_t slots = w.plan.slots();
  const int most = slots == 0 ? 0 : max_experts_per_unit(spec.router);
  w.q.resize(rows, most * size);
  w.k.resize(rows, size);
  w.v.resize(rows, size);
  w.mixed.resize(rows, most * size);
  const Projection keys_values[] = {{&weights.k, w.k.view()}, {&weights.v, w.v.view()}};
  project(pass, w.normed_rows, keys_values);

  // Slot s of row r has its queries at [r, (s - offset[r]) * size]: rows of a [rows * most, size] view.
  const MatrixView<float> q_slots(w.q.view().data, rows * most, size),
      mixed_slots(w.mixed.view().data, rows * most, size);
  std::vector<std::int32_t> place(slots);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int32_t s = w.plan.offset[r]; s < w.plan.offset[r + 1]; ++s) {
      place[s] = static_cast<std::int32_t>(r * most + (s - w.plan.offset[r]));
    }
  }
  const auto places_of = [&](std::span<const std::int32_t> of_slots) {
    std::vector<std::int32_t> places;
    for (const std::int32_t s : of_slots) places.push_back(place[s]);
    return places;
  };
  std::fill_n(q_slots.data, rows * most * size, 0.0f);
  const OverlayScratch none;
  pass.pool.for_each_block(static_cast<std::int64_t>(w.groups.active.size()), [&](std::int64_t i, int) {
    const int e = w.groups.active[i];
    apply(weights.q[e], {0, size}, w.normed_rows, w.groups.units_of(e), q_slots, places_of(w.groups.slots_of(e)), none);
  });

  const KvRegion& region = pass.layout.blocks[block];
  const RowMaths maths{pass.model.config, a, AttentionWeights()};
  for_each_row(pass, [&](std::int64_t r) {
    const PlacedRow& row = pass.rows[r];
    KvPage& page = *row.sequence->pages[row.position / kPagePositions];
    const int slot = static_cast<int>(row.position % kPagePositions);
    maths.place(w.q.view().row(r), {}, w.angles, r);
    maths.place(w.k.view().row(r), {}, w.angles, r);
    store_heads(w.k.view().row(r), region, page, slot, false);
    store_heads(w.v.view().row(r), region, page, slot, true);
  });
  Attend attention;
  attention.units = most * a.kv_heads;  // unit u reads KV head u % kv_heads
  attention.key_dim = attention.value_dim = a.head_dim;
  attention.scale = a.scale;
  attend(pass, region, attention, w.q.view(), w.mixed.view());

  ActivationRows& mixed = w.mixed_rows;
  mixed.assign(mixed_slots);
  if (pass.activations == ActivationType::kQ8 && pass.model.quantised) mixed.quantise_all();
  w.slot_output.resize(slots, pass.model.config.hidden_size);
  pass.pool.for_each_block(static_cast<std::int64_t>(w.groups.active.size()), [&](std::int64_t i, int) {
    const int e = w.groups.active[i];
    const std::span<const std::int32_t> of_slots = w.groups.slots_of(e);
    apply(weights.output[e], {0, pass.model.config.hidden_size}, mixed, places_of(of_slots), w.slot_output.view(),
          of_slots, none);
  });
  combine(w.plan, w.slot_output.view(), 0, rows, w.result.view());
  if (weights.bias.empty()) return;
  for_each_row(pass, [&](std::int64_t r) {
    const std::span<float> out = w.result.view().row(r);
    for (std::size_t d = 0; d < out.size(); ++d) out[d] += weights.bias[d];
  });
}

}  // namespace junto
