#include "compress/carve_router.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "base/random.h"
#include "compress/carve_grouping.h"
#include "compress/carve_order.h"
#include "compress/carve_products.h"
#include "compress/carve_unchosen.h"
#include "tensor/half.h"

namespace junto {
namespace {

// Every token attends to the first one (an attention sink: a few neurons of a few blocks give it activations a hundred
// times those of others), so what it loses, all lose.
constexpr float kFirstTokenWeight = 30;

/// The sample in the forms that the fit needs.
struct Fit {
  const BlockSample& sample;
  MatrixView<const float> down;  // [D, F]
  const CarveShape& shape;
  const FitOptions& options;
  ThreadPool& pool;
  std::int64_t tokens, features, neurons;  // T, D + 1, F
  std::int64_t width;                      // neurons of a group
  Matrix<float> x, x_by_feature;           // [T, D + 1] with a constant 1 at the end; [D + 1, T]
  Matrix<float> energy;                    // [F, T]: squared contribution over the stream's squared norm
  Matrix<float> moments;                   // [D + 1, D + 1] = x^T x
  std::vector<int> group;                  // [F]: routed 0..E-S-1, shared E-S
  Matrix<float> target;                    // [E-S, T]: what the router predicts
  Matrix<float> weights;                   // [E-S, D + 1]
  Matrix<float> predicted;                 // [T, E-S]
  Matrix<float> chosen;                    // [E-S, T]: share of the fitted k at which the token has the group

  int routed() const { return shape.routed(); }
};

// Norms [F] of the down matrix's columns.
std::vector<float> column_norms(MatrixView<const float> down) {
  std::vector<double> squares(static_cast<std::size_t>(down.cols));
  for (std::int64_t r = 0; r < down.rows; ++r) {
    const std::span<const float> row = down.row(r);
    for (std::size_t n = 0; n < row.size(); ++n) squares[n] += static_cast<double>(row[n]) * row[n];
  }
  std::vector<float> norms;
  for (const double square : squares) norms.push_back(static_cast<float>(std::sqrt(square)));
  return norms;
}

void prepare(Fit& fit) {
  const BlockSample& s = fit.sample;
  const std::vector<float> norms = column_norms(fit.down);
  fit.x.resize(fit.tokens, fit.features);
  fit.x_by_feature.resize(fit.features, fit.tokens);
  fit.energy.resize(fit.neurons, fit.tokens);
  Matrix<float> by_token(fit.tokens, fit.neurons);
  fit.pool.for_each_block(fit.tokens, [&](std::int64_t t, int) {
    const std::span<float> x = fit.x.view().row(t);
    for (std::int64_t d = 0; d < s.hidden_size; ++d) x[d] = bf16_to_float(s.inputs[t * s.hidden_size + d]);
    x.back() = 1.0f;
    const float inverse = 1.0f / std::max(s.stream_squares[t], 1e-20f);
    const std::span<float> e = by_token.view().row(t);
    for (std::int64_t n = 0; n < fit.neurons; ++n) {
      const float contribution = bf16_to_float(s.hidden[t * fit.neurons + n]) * norms[n];
      e[n] = contribution * contribution * inverse;
    }
  });
  transpose(fit.x.view(), fit.x_by_feature.view(), fit.pool);
  transpose(by_token.view(), fit.energy.view(), fit.pool);
  fit.moments.resize(fit.features, fit.features);
  multiply_transposed(fit.x_by_feature.view(), fit.x_by_feature.view(), fit.moments.view(), fit.pool);
}

// Energy [E-S, T] of the routed groups.
Matrix<float> group_energy(const Fit& fit) {
  Matrix<float> sums(fit.routed(), fit.tokens);
  fit.pool.for_each_block(fit.routed(), [&](std::int64_t g, int) {
    const std::span<float> row = sums.view().row(g);
    std::ranges::fill(row, 0.0f);
    for (std::int64_t n = 0; n < fit.neurons; ++n) {
      if (fit.group[n] != g) continue;
      const std::span<const float> e = fit.energy.view().row(n);
      for (std::int64_t t = 0; t < fit.tokens; ++t) row[t] += e[t];
    }
  });
  return sums;
}

// The k largest of scores [E-S] for each fitted k: weight of each group, summed over k, mean.
void mark_chosen(Fit& fit, const Matrix<float>& scores_by_token) {
  fit.chosen.resize(fit.routed(), fit.tokens);
  const float share = 1.0f / static_cast<float>(fit.options.chosen.size());
  fit.pool.for_each_block((fit.tokens + 63) / 64, [&](std::int64_t block, int) {
    std::vector<int> order(static_cast<std::size_t>(fit.routed()));
    for (std::int64_t t = block * 64; t < std::min(fit.tokens, (block + 1) * 64); ++t) {
      const std::span<const float> scores = scores_by_token.view().row(t);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return scores[a] > scores[b]; });
      for (int rank = 0; rank < fit.routed(); ++rank) {
        float mark = 0;
        for (const int k : fit.options.chosen) mark += rank < k ? share : 0.0f;
        fit.chosen.view().at(order[rank], t) = mark;
      }
    }
  });
}

void fit_router(Fit& fit) {
  fit.target = group_energy(fit);
  // The logarithm: raw energies have a tail of rare large values that a least-squares fit would follow.
  for (int g = 0; g < fit.routed(); ++g) {
    const std::span<float> row = fit.target.view().row(g);
    const double mean = std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(fit.tokens);
    const auto floor = static_cast<float>(1e-3 * mean + 1e-12);
    for (float& value : row) value = std::log(value + floor);
  }
  fit.weights.resize(fit.routed(), fit.features);
  multiply_transposed(fit.target.view(), fit.x_by_feature.view(), fit.weights.view(), fit.pool);
  solve_ridge(fit.moments.view(), fit.options.ridge, fit.weights.view(), fit.pool);
  fit.predicted.resize(fit.tokens, fit.routed());
  multiply_transposed(fit.x.view(), fit.weights.view(), fit.predicted.view(), fit.pool);
  mark_chosen(fit, fit.predicted);
}

// gain [F, E-S + 1]: energy that a neuron would have computed in each group, at the router's present choices; the last
// column is the shared expert, which computes all of it. First tokens count `first_weight` times.
Matrix<float> gains(const Fit& fit, float first_weight) {
  std::vector<float> weight(static_cast<std::size_t>(fit.tokens), 1.0f);
  for (std::int64_t t = 0; t < fit.tokens; t += fit.sample.window) weight[t] = first_weight;
  Matrix<float> marks = fit.chosen, routed(fit.neurons, fit.routed());
  for (int g = 0; g < fit.routed(); ++g)
    std::ranges::transform(marks.view().row(g), weight, marks.view().row(g).begin(), std::multiplies<>());
  multiply_transposed(fit.energy.view(), marks.view(), routed.view(), fit.pool);
  Matrix<float> gain(fit.neurons, fit.routed() + 1);
  for (std::int64_t n = 0; n < fit.neurons; ++n) {
    const std::span<const float> e = fit.energy.view().row(n);
    std::ranges::copy(routed.view().row(n), gain.view().row(n).begin());
    gain.view().at(n, fit.routed()) = std::inner_product(e.begin(), e.end(), weight.begin(), 0.0f);
  }
  return gain;
}

std::vector<std::int64_t> rooms(const Fit& fit) {
  std::vector<std::int64_t> room(static_cast<std::size_t>(fit.routed()), fit.width);
  room.push_back(fit.width * fit.shape.shared);
  return room;
}

// The first grouping: neurons whose contributions the block's input predicts alike. Each neuron's contribution (square
// root of its energy) is regressed on the input; a balanced k-means over the predictions' coordinates, whitened by the
// input's moments so that distances are those of the predictions. The most energetic neurons are shared.
void first_grouping(Fit& fit) {
  const std::int64_t few = std::min<std::int64_t>(fit.tokens, 8192);
  Matrix<float> roots(fit.neurons, few);
  fit.pool.for_each_block(fit.neurons, [&](std::int64_t n, int) {
    for (std::int64_t t = 0; t < few; ++t) roots.view().at(n, t) = std::sqrt(fit.energy.view().at(n, t));
  });
  const MatrixView<const float> xs{fit.x_by_feature.view().data, fit.features, few, fit.tokens};
  Matrix<float> moments(fit.features, fit.features), weights(fit.neurons, fit.features);
  multiply_transposed(xs, xs, moments.view(), fit.pool);
  multiply_transposed(roots.view(), xs, weights.view(), fit.pool);
  solve_ridge(moments.view(), 1e-2, weights.view(), fit.pool);
  // Predictions on some tokens, centred: the coordinates that are clustered.
  const std::int64_t seen = std::min<std::int64_t>(few, 2048);
  Matrix<float> points(fit.neurons, seen);
  multiply_transposed(weights.view(), {fit.x.view().data, seen, fit.features, fit.features}, points.view(), fit.pool);
  std::vector<float> total(static_cast<std::size_t>(fit.neurons));
  fit.pool.for_each_block(fit.neurons, [&](std::int64_t n, int) {
    const std::span<float> p = points.view().row(n);
    const float mean = std::accumulate(p.begin(), p.end(), 0.0f) / static_cast<float>(seen);
    for (float& value : p) value -= mean;
    const std::span<const float> e = fit.energy.view().row(n);
    total[n] = std::accumulate(e.begin(), e.end(), 0.0f);
  });
  std::vector<std::int64_t> order(static_cast<std::size_t>(fit.neurons));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return total[a] > total[b]; });
  fit.group.assign(static_cast<std::size_t>(fit.neurons), fit.routed());
  const std::vector<std::int64_t> left(order.begin() + fit.width * fit.shape.shared, order.end());

  Matrix<float> centres(fit.routed(), seen);
  Random random(0x6a756e746full + static_cast<std::uint64_t>(fit.sample.block));
  std::vector<int> member(left.size());
  for (std::size_t i = 0; i < left.size(); ++i)
    member[i] = static_cast<int>(i % static_cast<std::size_t>(fit.routed()));
  for (std::size_t i = left.size(); i-- > 1;) std::swap(member[i], member[random.next() % (i + 1)]);
  Matrix<float> routed_points(static_cast<std::int64_t>(left.size()), seen);
  for (std::size_t i = 0; i < left.size(); ++i)
    std::ranges::copy(points.view().row(left[i]), routed_points.view().row(static_cast<std::int64_t>(i)).begin());
  for (int round = 0; round < 12; ++round) {
    std::fill(centres.values.begin(), centres.values.end(), 0.0f);
    for (std::size_t i = 0; i < left.size(); ++i) {
      const std::span<float> centre = centres.view().row(member[i]);
      const std::span<const float> p = routed_points.view().row(static_cast<std::int64_t>(i));
      for (std::int64_t t = 0; t < seen; ++t) centre[t] += p[t] / static_cast<float>(fit.width);
    }
    // -|p - c|^2 without |p|^2, which is the same for every group.
    Matrix<float> gain(static_cast<std::int64_t>(left.size()), fit.routed());
    multiply_transposed(routed_points.view(), centres.view(), gain.view(), fit.pool);
    for (int g = 0; g < fit.routed(); ++g) {
      float squares = 0;
      for (const float value : centres.view().row(g)) squares += value * value;
      for (std::int64_t i = 0; i < gain.rows; ++i) gain.view().at(i, g) = 2 * gain.view().at(i, g) - squares;
    }
    const std::vector<int> next = assign_balanced(gain.view(), std::vector<std::int64_t>(fit.routed(), fit.width));
    if (next == member) break;
    member = next;
  }
  for (std::size_t i = 0; i < left.size(); ++i) fit.group[left[i]] = member[i];
}

// Shares of the energy that the present choices compute, and that ideal ones would.
double captured_share(Fit& fit) {
  const Matrix<float> gain = gains(fit, 1);
  double computed = 0, all = 0;
  for (std::int64_t n = 0; n < fit.neurons; ++n) {
    computed += gain.view().at(n, fit.group[n]);
    all += gain.view().at(n, fit.routed());
  }
  return all > 0 ? computed / all : 1.0;
}

double ideal_share(Fit& fit) {
  const Matrix<float> energy = group_energy(fit);
  Matrix<float> by_token(fit.tokens, fit.routed());
  transpose(energy.view(), by_token.view(), fit.pool);
  const Matrix<float> kept = fit.chosen;
  mark_chosen(fit, by_token);
  const double share = captured_share(fit);
  fit.chosen = kept;
  return share;
}

// Renumbers the groups: what was order[i] becomes i.
void renumber(Fit& fit, const std::vector<int>& order) {
  std::vector<int> place(order.size());
  const auto routed = static_cast<std::int64_t>(order.size());
  Matrix<float> weights(routed, fit.weights.cols), chosen(routed, fit.chosen.cols);
  for (std::int64_t i = 0; i < routed; ++i) {
    place[order[i]] = static_cast<int>(i);
    std::ranges::copy(fit.weights.view().row(order[i]), weights.view().row(i).begin());
    std::ranges::copy(fit.chosen.view().row(order[i]), chosen.view().row(i).begin());
  }
  for (int& group : fit.group) group = group < fit.routed() ? place[group] : group;
  fit.weights = std::move(weights);
  fit.chosen = std::move(chosen);
}

BlockCarving result_of(Fit& fit) {
  renumber(fit, order_by_company(fit.chosen.view()));
  BlockCarving out;
  out.experts.resize(static_cast<std::size_t>(fit.routed()));
  for (std::int64_t n = 0; n < fit.neurons; ++n) {
    const int g = fit.group[n];
    (g == fit.routed() ? out.shared : out.experts[g]).push_back(static_cast<std::int32_t>(n));
  }
  const std::int64_t inputs = fit.features - 1;
  out.router.resize(fit.routed(), inputs);
  for (int g = 0; g < fit.routed(); ++g) {
    const std::span<const float> row = fit.weights.view().row(g);
    std::copy_n(row.begin(), inputs, out.router.view().row(g).begin());
    out.router_bias.push_back(row.back());
  }
  out.unchosen_output = fit_unchosen_outputs(fit.sample, fit.down, out.experts, fit.chosen.view(),
                                             static_cast<int>(fit.options.chosen.size()), fit.pool);
  out.captured = captured_share(fit);
  out.captured_ideal = ideal_share(fit);
  return out;
}

}  // namespace

BlockCarving carve_block(const BlockSample& sample, MatrixView<const float> down, const CarveShape& shape,
                         const FitOptions& options, ThreadPool& pool) {
  Fit fit{.sample = sample,
          .down = down,
          .shape = shape,
          .options = options,
          .pool = pool,
          .tokens = sample.tokens,
          .features = sample.hidden_size + 1,
          .neurons = sample.width,
          .width = sample.width / shape.experts,
          .x = {},
          .x_by_feature = {},
          .energy = {},
          .moments = {},
          .group = {},
          .target = {},
          .weights = {},
          .predicted = {},
          .chosen = {}};
  prepare(fit);
  first_grouping(fit);
  fit_router(fit);
  for (int round = 0; round < options.rounds; ++round) {
    std::vector<int> next = assign_balanced(gains(fit, kFirstTokenWeight).view(), rooms(fit));
    if (next == fit.group) break;
    fit.group = std::move(next);
    fit_router(fit);
  }
  return result_of(fit);
}

}  // namespace junto
