// Router logits: from what the router reads to [rows, E], in fp32.
#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <utility>

#include "model/forward_pass.h"

namespace junto {
namespace {

/// Products with the experts' rows become cosines; of a row of zeros they are 0.
void make_cosines(Pass& pass, const RouterWeights& router, const ActivationRows& x, MatrixView<float> out) {
  for_each_row(pass, [&](std::int64_t r) {
    double sum = 0.0;
    for (const float value : x.floats().row(r)) sum += static_cast<double>(value) * static_cast<double>(value);
    const float inverse = sum > 0.0 ? static_cast<float>(1.0 / std::sqrt(sum)) : 0.0f;
    const std::span<float> logits = out.row(r);
    for (std::size_t e = 0; e < logits.size(); ++e) logits[e] *= inverse * router.inverse_norms[e];
  });
}

void project_with(Pass& pass, const ActivationRows& x, const Projection& first, std::span<const Projection> others) {
  std::array<Projection, 3> all;
  assert(others.size() < all.size());
  all[0] = first;
  std::ranges::copy(others, all.begin() + 1);
  project(pass, x, std::span(all).first(1 + others.size()));
}

}  // namespace

void compute_router_logits(Pass& pass, const RouterWeights& router, const RouterSpec& spec, const ActivationRows& x,
                           MatrixView<float> out, std::span<const Projection> beside) {
  Workspace& w = pass.w;
  if (spec.logits == LogitsKind::kTwoLayer) {
    w.router_hidden.resize(pass.count(), spec.logits_hidden);
    project_with(pass, x, {&router.hidden, w.router_hidden.view()}, std::exchange(beside, {}));
    for_each_row(pass, [&](std::int64_t r) {
      for (float& value : w.router_hidden.view().row(r)) value = std::tanh(value);
    });
    take_rows(pass, w.router_hidden.view(), w.router_hidden_rows);
  }
  const ActivationRows& inputs = spec.logits == LogitsKind::kTwoLayer ? w.router_hidden_rows : x;
  project_with(pass, inputs, {&router.logits, out}, beside);
  if (spec.logits == LogitsKind::kCosine) make_cosines(pass, router, x, out);
  if (router.residual.empty() || !w.logits_are_carried) return;
  Matrix<float>& added = w.next_logits;
  added.resize(pass.count(), spec.experts);
  take_rows(pass, w.carried_logits.view(), w.carried_rows);
  const Projection residual[] = {{&router.residual, added.view()}};
  project(pass, w.carried_rows, residual);
  for_each_row(pass, [&](std::int64_t r) {
    for (std::int64_t e = 0; e < out.cols; ++e) out.at(r, e) += added.view().at(r, e);
  });
}

}  // namespace junto
