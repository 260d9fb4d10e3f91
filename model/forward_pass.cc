#include "model/forward_pass.h"

#include <algorithm>
#include <cmath>

#include "kernels/norm.h"
#include "kernels/rotate.h"

namespace junto {

namespace {

std::int64_t groups_of(const WeightMatrix& w) {
  return (w.rows + matmul_group_rows(w) - 1) / matmul_group_rows(w);
}

}  // namespace

Pieces prepare_projections(Pass& pass, const ActivationRows& x, std::span<const Projection> projections) {
  if (pass.w.overlays.size() < projections.size()) pass.w.overlays.resize(projections.size());
  std::int64_t groups = 0;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < projections.size(); ++i) {
    const Linear& linear = *projections[i].linear;
    prepare_overlays(linear, x, {}, pass.pool, pass.w.overlays[i]);
    groups += groups_of(linear.weights);
    bytes += linear.weights.bytes();
  }
  return {bytes, groups, pass.pool.threads()};
}

void project_piece(Pass& pass, const ActivationRows& x, std::span<const Projection> projections, std::int64_t begin,
                   std::int64_t end) {
  for (std::size_t i = 0; i < projections.size(); ++i) {
    const Linear& linear = *projections[i].linear;
    const std::int64_t own = groups_of(linear.weights), rows = matmul_group_rows(linear.weights);
    if (begin < own && end > 0) {
      const RowRange range = {std::max<std::int64_t>(begin, 0) * rows, std::min(end * rows, linear.weights.rows)};
      apply(linear, range, x, {}, projections[i].out, {}, pass.w.overlays[i]);
    }
    begin -= own, end -= own;
  }
}

void project(Pass& pass, const ActivationRows& x, std::span<const Projection> projections) {
  const Pieces pieces = prepare_projections(pass, x, projections);
  pass.pool.for_each_block(pieces.count(), [&](std::int64_t i, int) {
    project_piece(pass, x, projections, pieces.begin(i), pieces.begin(i + 1));
  });
}

void take_rows(Pass& pass, MatrixView<const float> view, ActivationRows& rows) {
  rows.assign(view);
  if (pass.activations != ActivationType::kQ8 || !pass.model.quantised) return;
  rows.reserve_q8();
  for_each_row(pass, [&](std::int64_t r) { rows.quantise(r, r + 1); });
}

bool narrows_in(const Pass& pass, std::size_t block) {
  return pass.narrows && block + 1 == pass.model.config.blocks.size();
}

void keep_wanted(Pass& pass, std::size_t block) {
  if (!narrows_in(pass, block)) return;
  Workspace& w = pass.w;
  w.wanted_rows.clear();
  const auto move_row = [](Matrix<float>& values, std::int64_t from, std::int64_t to) {
    if (from != to) std::ranges::copy(values.view().row(from), values.view().row(to).begin());
  };
  for (std::int64_t r = 0; r < pass.count(); ++r) {
    if (!pass.rows[r].wanted) continue;
    const auto to = static_cast<std::int64_t>(w.wanted_rows.size());
    for (Matrix<float>* values : {&w.x, &w.normed, &w.result}) move_row(*values, r, to);
    for (Angles& angles : w.angles) move_row(angles.cosines, r, to), move_row(angles.sines, r, to);
    w.wanted_rows.push_back(pass.rows[r]);
  }
  pass.rows = w.wanted_rows;
  pass.narrows = false;
  for (Matrix<float>* values : {&w.x, &w.normed, &w.result}) values->resize(pass.count(), values->cols);
  take_rows(pass, w.normed.view(), w.normed_rows);
}

void apply_norm(const ModelConfig& config, const NormWeights& norm, std::span<const float> x, std::span<float> out) {
  if (config.norm == NormKind::kLayer)
    layer_norm(x, norm.scale, norm.bias, norm.eps, out);
  else
    rms_norm(x, norm.scale, norm.eps, out);
}

void rotate_head(const Rope& rope, std::span<const float> cosines, std::span<const float> sines,
                 std::span<float> head) {
  if (rope.style == RopeStyle::kHalf)
    rotate_halves(head, cosines, sines);
  else
    rotate_neighbours(head, cosines, sines);
}

void observe(const Pass& pass, Point point, std::size_t block, MatrixView<const float> values, bool mixer) {
  if (!pass.hooks || !pass.hooks->observes(point)) return;
  Observation seen;
  seen.point = point;
  seen.block = static_cast<int>(block);
  seen.values = values;
  seen.mixer = mixer;
  seen.round = mixer ? 0 : pass.w.round;
  if (point == Point::kPlan || point == Point::kExpertOutput) seen.plan = &pass.w.plan, seen.groups = &pass.w.groups;
  pass.hooks->observe(seen);
}

}  // namespace junto
