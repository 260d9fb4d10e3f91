// Multi-head latent attention and the gated short convolution.
#include <algorithm>
#include <cstring>

#include "kernels/attention.h"
#include "kernels/norm.h"
#include "model/forward_pass.h"

namespace junto {
namespace {

// Queries of every head, [rows, heads * (nope + rope)], into w.q.
void project_queries(Pass& pass, const MlaSpec& spec, const MlaWeights& weights) {
  Workspace& w = pass.w;
  const std::int64_t rows = pass.count();
  w.q.resize(rows, std::int64_t{spec.heads} * (spec.nope_dim + spec.rope_dim));
  w.k.resize(rows, spec.kv_rank + spec.rope_dim);
  if (spec.q_rank == 0) {
    const Projection both[] = {{&weights.q, w.q.view()}, {&weights.kv_a, w.k.view()}};
    return project(pass, w.normed_rows, both);
  }
  w.compressed.resize(rows, spec.q_rank);
  const Projection down[] = {{&weights.q_a, w.compressed.view()}, {&weights.kv_a, w.k.view()}};
  project(pass, w.normed_rows, down);
  for_each_row(pass, [&](std::int64_t r) {
    const std::span<float> row = w.compressed.view().row(r);
    rms_norm(row, weights.q_a_norm, spec.norm_eps, row);
  });
  take_rows(pass, w.compressed.view(), w.compressed_rows);
  const Projection up[] = {{&weights.q_b, w.q.view()}};
  project(pass, w.compressed_rows, up);
  if (spec.q_multiplier == 1.0f) return;
  for_each_row(pass, [&](std::int64_t r) {
    for (float& value : w.q.view().row(r)) value *= spec.q_multiplier;
  });
}

// out[row, h] = matrices[h] applied to in[row, h]: rows of `in` and `out` are (row, head) pairs.
void apply_per_head(Pass& pass, std::span<const WeightMatrix> matrices, MatrixView<const float> in,
                    MatrixView<float> out, ActivationRows& rows) {
  const auto heads = static_cast<std::int64_t>(matrices.size());
  rows.assign(in);
  if (pass.activations == ActivationType::kQ8 && is_quantised(matrices[0].type)) rows.quantise_all();
  pass.pool.for_each_block(heads, [&](std::int64_t h, int) {
    std::vector<std::int32_t> ids;
    for (std::int64_t r = 0; r < pass.count(); ++r) ids.push_back(static_cast<std::int32_t>(r * heads + h));
    matmul(matrices[h], {0, matrices[h].rows}, rows, ids, out, ids);
  });
}

}  // namespace

void run_mla(Pass& pass, std::size_t block, const MlaSpec& spec, const MlaWeights& weights) {
  Workspace& w = pass.w;
  const ModelConfig& config = pass.model.config;
  const std::int64_t rows = pass.count(), pairs = rows * spec.heads;
  const int q_dim = spec.nope_dim + spec.rope_dim, key_dim = spec.kv_rank + spec.rope_dim;
  project_queries(pass, spec, weights);

  const KvRegion& region = pass.layout.blocks[block];
  const Rope& rope = config.ropes[spec.rope];
  const Angles& angles = w.angles[spec.rope];
  w.latent.resize(rows, std::int64_t{spec.heads} * key_dim);
  for_each_row(pass, [&](std::int64_t r) {
    const PlacedRow& row = pass.rows[r];
    const auto cosines = std::as_const(angles.cosines).view().row(r), sines = std::as_const(angles.sines).view().row(r);
    const std::span<float> key = w.k.view().row(r);
    const std::span<float> latent = key.first(spec.kv_rank);
    rms_norm(latent, weights.kv_a_norm, spec.norm_eps, latent);
    for (float& value : latent) value *= spec.latent_multiplier;
    rotate_head(rope, cosines, sines, key.subspan(spec.kv_rank));
    KvPage& page = *row.sequence->pages[row.position / kPagePositions];
    store_row(key, region.type, page.key(region, 0, static_cast<int>(row.position % kPagePositions)));
    for (int h = 0; h < spec.heads; ++h) {
      const std::span<float> q = w.q.view().row(r).subspan(std::size_t(h) * q_dim + spec.nope_dim, spec.rope_dim);
      rotate_head(rope, cosines, sines, q);
      std::copy(q.begin(), q.end(), w.latent.view().row(r).begin() + std::ptrdiff_t(h) * key_dim + spec.kv_rank);
    }
  });
  // q' = k_b^T q: the query in the space of the compressed cache.
  apply_per_head(pass, weights.k_b, {w.q.view().data, pairs, spec.nope_dim, q_dim},
                 {w.latent.view().data, pairs, spec.kv_rank, key_dim}, w.head_rows);

  Attend attention;
  attention.heads_per_unit = spec.heads;
  attention.key_dim = key_dim;
  attention.value_dim = spec.kv_rank;
  attention.values_in_keys = true;
  attention.scale = spec.scale;
  w.v.resize(rows, std::int64_t{spec.heads} * spec.kv_rank);
  attend(pass, region, attention, w.latent.view(), w.v.view());

  w.mixed.resize(rows, std::int64_t{spec.heads} * spec.value_dim);
  apply_per_head(pass, weights.v_b, {w.v.view().data, pairs, spec.kv_rank},
                 {w.mixed.view().data, pairs, spec.value_dim}, w.head_rows);
  take_rows(pass, w.mixed.view(), w.mixed_rows);
  const Projection output[] = {{&weights.output, w.result.view()}};
  project(pass, w.mixed_rows, output);
}

// The convolution's inputs of all positions stand in the pages, so that a sequence can be cut anywhere.
void run_short_conv(Pass& pass, std::size_t block, const ShortConvSpec& spec, const ShortConvWeights& weights) {
  Workspace& w = pass.w;
  const std::int64_t rows = pass.count(), hidden = pass.model.config.hidden_size;
  w.q.resize(rows, 3 * hidden);
  w.mixed.resize(rows, hidden);
  const Projection in[] = {{&weights.in, w.q.view()}};
  project(pass, w.normed_rows, in);
  const KvRegion& region = pass.layout.blocks[block];
  const auto input_at = [&](const PlacedRow& row, std::int64_t position) {
    KvPage& page = *row.sequence->pages[position / kPagePositions];
    return reinterpret_cast<float*>(page.key(region, 0, static_cast<int>(position % kPagePositions)));
  };
  for_each_row(pass, [&](std::int64_t r) {
    const float* b = w.q.view().row(r).data();
    float* to = input_at(pass.rows[r], pass.rows[r].position);
    for (std::int64_t d = 0; d < hidden; ++d) to[d] = b[d] * b[2 * hidden + d];
  });
  for_each_row(pass, [&](std::int64_t r) {
    const PlacedRow& row = pass.rows[r];
    const std::span<float> out = w.mixed.view().row(r);
    std::fill(out.begin(), out.end(), 0.0f);
    for (int t = 0; t < spec.taps; ++t) {
      const std::int64_t position = row.position - (spec.taps - 1) + t;
      if (position < 0) continue;
      const float* from = input_at(row, position);
      for (std::int64_t d = 0; d < hidden; ++d) out[d] += weights.taps[d * spec.taps + t] * from[d];
    }
    const float* c = w.q.view().row(r).data() + hidden;
    for (std::int64_t d = 0; d < hidden; ++d) {
      if (!weights.tap_bias.empty()) out[d] += weights.tap_bias[d];
      out[d] *= c[d];
    }
  });
  take_rows(pass, w.mixed.view(), w.mixed_rows);
  const Projection output[] = {{&weights.out, w.result.view()}};
  project(pass, w.mixed_rows, output);
}

}  // namespace junto
