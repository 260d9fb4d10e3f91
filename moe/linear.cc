#include "moe/linear.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "moe/dot.h"

namespace junto {
namespace {

std::int64_t input_rows(const ActivationRows& x, std::span<const std::int32_t> x_rows) {
  return x_rows.empty() ? x.rows() : static_cast<std::int64_t>(x_rows.size());
}

std::int64_t id_at(std::span<const std::int32_t> ids, std::int64_t i) {
  return ids.empty() ? i : ids[i];
}

/// products[j] = factor * A[j] . x
void multiply_a(const LowRank& low_rank, std::span<const float> x, float factor, float* products) {
  const std::int64_t k = static_cast<std::int64_t>(x.size());
  for (std::int64_t j = 0; j < low_rank.rank; ++j) {
    products[j] = factor * dot(low_rank.a.data() + j * k, x.data(), k);
  }
}

/// out[n - range.begin] += sum over j of products[j] * B[n, j], j ascending.
void add_b(const LowRank& low_rank, const float* products, std::int64_t outputs, RowRange range, float* out) {
  const std::int64_t count = range.end - range.begin;
  for (std::int64_t j = 0; j < low_rank.rank; ++j) {
    const float* b = low_rank.b_transposed.data() + j * outputs + range.begin;
    const float product = products[j];
    for (std::int64_t n = 0; n < count; ++n) out[n] += product * b[n];
  }
}

void prepare_row(const LowRank& low_rank, std::span<const float> x, std::int64_t row, OverlayScratch::Part& part,
                 OverlayScratch::Worker&) {
  multiply_a(low_rank, x, low_rank.scale, part.products.data() + row * part.rank);
}

void prepare_row(const RoutedLowRank& routed, std::span<const float> x, std::int64_t row, OverlayScratch::Part& part,
                 OverlayScratch::Worker& worker) {
  const std::int64_t experts = routed.spec.experts;
  const std::int64_t k = static_cast<std::int64_t>(x.size());
  worker.logits.resize(experts);
  for (std::int64_t e = 0; e < experts; ++e) worker.logits[e] = dot(routed.router.data() + e * k, x.data(), k);
  worker.plan.clear();
  route_unit(routed.spec, {}, worker.logits, {}, worker.route, worker.plan);
  const std::span<const std::int32_t> chosen = worker.plan.experts_of(0);
  const std::span<const float> weights = worker.plan.weights_of(0);
  for (std::int64_t slot = 0; slot < part.slots; ++slot) {
    const std::int64_t place = row * part.slots + slot;
    if (slot >= static_cast<std::int64_t>(chosen.size())) {
      part.expert[place] = -1;
      continue;
    }
    part.expert[place] = chosen[slot];
    const LowRank& low_rank = routed.experts[chosen[slot]];
    multiply_a(low_rank, x, weights[slot] * low_rank.scale, part.products.data() + place * part.rank);
  }
}

void prepare_row(const Delta&, std::span<const float>, std::int64_t, OverlayScratch::Part&, OverlayScratch::Worker&) {}

/// Adds one overlay's part of the outputs in `range` to `out` (which begins at range.begin).
void add_row(const LowRank& low_rank, std::span<const float>, std::int64_t row, const OverlayScratch::Part& part,
             std::int64_t outputs, RowRange range, float* out) {
  add_b(low_rank, part.products.data() + row * part.rank, outputs, range, out);
}

void add_row(const RoutedLowRank& routed, std::span<const float>, std::int64_t row, const OverlayScratch::Part& part,
             std::int64_t outputs, RowRange range, float* out) {
  for (std::int64_t place = row * part.slots; place < (row + 1) * part.slots && part.expert[place] >= 0; ++place) {
    add_b(routed.experts[part.expert[place]], part.products.data() + place * part.rank, outputs, range, out);
  }
}

void add_row(const Delta& delta, std::span<const float> x, std::int64_t, const OverlayScratch::Part&, std::int64_t,
             RowRange range, float* out) {
  const std::int64_t k = static_cast<std::int64_t>(x.size());
  for (std::int64_t n = range.begin; n < range.end; ++n) {
    if (delta.row_begin.empty()) {
      out[n - range.begin] += dot(delta.values.data() + n * k, x.data(), k);
      continue;
    }
    float sum = 0.0f;
    for (std::int64_t i = delta.row_begin[n]; i < delta.row_begin[n + 1]; ++i) {
      sum += delta.values[i] * x[delta.column[i]];
    }
    out[n - range.begin] += sum;
  }
}

std::size_t bytes_of_overlay(const LowRank& low_rank) {
  return (low_rank.a.size() + low_rank.b_transposed.size()) * sizeof(float);
}
std::size_t bytes_of_overlay(const RoutedLowRank& routed) {
  std::size_t bytes = routed.router.size() * sizeof(float);
  for (const LowRank& low_rank : routed.experts) bytes += bytes_of_overlay(low_rank);
  return bytes;
}
std::size_t bytes_of_overlay(const Delta& delta) {
  return delta.values.size() * sizeof(float) + delta.row_begin.size() * sizeof(std::int64_t) +
         delta.column.size() * sizeof(std::int32_t);
}

void expect_size(std::size_t found, std::int64_t expected, std::string_view name, std::string_view where) {
  if (found == static_cast<std::size_t>(expected)) return;
  fail(where, std::string(name) + " has " + std::to_string(found) + " values, expected " + std::to_string(expected));
}

void check_overlay(const LowRank& low_rank, std::int64_t n, std::int64_t k, std::string_view where) {
  if (low_rank.rank < 1) fail(where, "low-rank overlay has rank " + std::to_string(low_rank.rank) + ", expected >= 1");
  expect_size(low_rank.a.size(), low_rank.rank * k, "low-rank A", where);
  expect_size(low_rank.b_transposed.size(), low_rank.rank * n, "low-rank B", where);
}

void check_overlay(const RoutedLowRank& routed, std::int64_t n, std::int64_t k, std::string_view where) {
  expect_size(routed.experts.size(), routed.spec.experts, "routed low-rank expert list", where);
  expect_size(routed.router.size(), routed.spec.experts * k, "routed low-rank router", where);
  check_overlay_router(routed.spec, std::string(where) + ": routed low-rank router");
  for (const LowRank& low_rank : routed.experts) check_overlay(low_rank, n, k, where);
}

void check_overlay(const Delta& delta, std::int64_t n, std::int64_t k, std::string_view where) {
  if (delta.row_begin.empty()) {
    if (!delta.column.empty()) fail(where, "dense delta has column numbers, expected none");
    return expect_size(delta.values.size(), n * k, "dense delta", where);
  }
  expect_size(delta.row_begin.size(), n + 1, "delta row_begin", where);
  expect_size(delta.column.size(), static_cast<std::int64_t>(delta.values.size()), "delta column", where);
  const bool ends_fit = delta.row_begin.front() == 0 &&
                        delta.row_begin.back() == static_cast<std::int64_t>(delta.values.size()) &&
                        std::is_sorted(delta.row_begin.begin(), delta.row_begin.end());
  if (!ends_fit) fail(where, "delta row_begin does not ascend from 0 to the number of entries");
  for (const std::int32_t column : delta.column) {
    if (column < 0 || column >= k) {
      fail(where, "delta column is " + std::to_string(column) + ", expected 0.." + std::to_string(k - 1));
    }
  }
}

}  // namespace

std::size_t Linear::bytes() const {
  std::size_t total = weights.bytes() + bias.size() * sizeof(float);
  if (!has_overlays()) return total;
  for (const Overlay& overlay : *overlays) {
    total += std::visit([](const auto& o) { return bytes_of_overlay(o); }, overlay);
  }
  return total;
}

LowRank make_low_rank(const Tensor& a, const Tensor& b, float scale, std::string_view where) {
  if (a.shape.size() != 2 || b.shape.size() != 2 || a.shape[0] != b.shape[1] || a.shape[0] < 1) {
    fail(where,
         "low-rank A is " + to_string(a.shape) + " and B is " + to_string(b.shape) + ", expected [r, K] and [N, r]");
  }
  LowRank low_rank{.rank = a.shape[0], .a = decode(a), .b_transposed = {}, .scale = scale};
  const std::vector<float> rows = decode(b);
  const std::int64_t n = b.shape[0];
  low_rank.b_transposed.resize(rows.size());
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < low_rank.rank; ++j) low_rank.b_transposed[j * n + i] = rows[i * low_rank.rank + j];
  }
  return low_rank;
}

void check_overlay_router(const RouterSpec& spec, std::string_view where) {
  const auto refuse = [&](bool wrong, std::string_view found, std::string_view expected) {
    if (wrong) fail(where, std::string(found) + ", expected " + std::string(expected));
  };
  refuse(spec.logits != LogitsKind::kLinear, "logits is not linear", "linear");
  refuse(spec.logit_residual, "logit_residual is true", "false: there is no routing below");
  refuse(spec.selection_bias, "selection_bias is true", "false: none is stored");
  refuse(std::holds_alternative<Given>(spec.select), "select is given", "a rule on scores: the layer sees no tokens");
  refuse(std::holds_alternative<ExpertChoice>(spec.select), "select is expert_choice", "a rule for each row by itself");
  refuse(spec.weight_on == WeightOn::kInput, "weight_on is input", "output");
  refuse(spec.prune.has_value(), "prune is set", "none");
}

void check_linear(const Linear& linear, std::string_view where) {
  const std::int64_t n = linear.weights.rows, k = linear.weights.cols;
  if (!linear.bias.empty()) expect_size(linear.bias.size(), n, "bias", where);
  if (!linear.has_overlays()) return;
  for (const Overlay& overlay : *linear.overlays) {
    std::visit([&](const auto& o) { check_overlay(o, n, k, where); }, overlay);
  }
}

void reserve_overlays(const Linear& linear, std::int64_t rows, int workers, OverlayScratch& scratch) {
  if (!linear.has_overlays()) return;
  scratch.parts.resize(linear.overlays->size());
  if (scratch.workers.size() < static_cast<std::size_t>(workers)) scratch.workers.resize(workers);
  for (std::size_t i = 0; i < scratch.parts.size(); ++i) {
    OverlayScratch::Part& part = scratch.parts[i];
    part.slots = part.rank = 0;
    if (const auto* low_rank = std::get_if<LowRank>(&(*linear.overlays)[i])) {
      part.slots = 1;
      part.rank = low_rank->rank;
    } else if (const auto* routed = std::get_if<RoutedLowRank>(&(*linear.overlays)[i])) {
      part.slots = max_experts_per_unit(routed->spec);
      for (const LowRank& expert : routed->experts) part.rank = std::max(part.rank, expert.rank);
      part.expert.resize(std::max(part.expert.size(), static_cast<std::size_t>(rows * part.slots)));
    }
    part.products.resize(std::max(part.products.size(), static_cast<std::size_t>(rows * part.slots * part.rank)));
  }
}

void prepare_overlays(const Linear& linear, const ActivationRows& x, std::span<const std::int32_t> x_rows,
                      std::int64_t begin, std::int64_t end, int worker, OverlayScratch& scratch) {
  if (!linear.has_overlays()) return;
  for (std::size_t i = 0; i < linear.overlays->size(); ++i) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::span<const float> input = x.floats().row(id_at(x_rows, row));
      std::visit([&](const auto& o) { prepare_row(o, input, row, scratch.parts[i], scratch.workers[worker]); },
                 (*linear.overlays)[i]);
    }
  }
}

void prepare_overlays(const Linear& linear, const ActivationRows& x, std::span<const std::int32_t> x_rows,
                      ThreadPool& pool, OverlayScratch& scratch) {
  if (!linear.has_overlays()) return;
  constexpr std::int64_t kRowsPerBlock = 4;
  const std::int64_t rows = input_rows(x, x_rows);
  reserve_overlays(linear, rows, pool.threads(), scratch);
  pool.for_each_block((rows + kRowsPerBlock - 1) / kRowsPerBlock, [&](std::int64_t block, int worker) {
    const std::int64_t begin = block * kRowsPerBlock;
    prepare_overlays(linear, x, x_rows, begin, std::min(begin + kRowsPerBlock, rows), worker, scratch);
  });
}

void apply(const Linear& linear, RowRange range, const ActivationRows& x, std::span<const std::int32_t> x_rows,
           MatrixView<float> out, std::span<const std::int32_t> out_rows, const OverlayScratch& scratch,
           std::int64_t prepared_begin) {
  matmul(linear.weights, range, x, x_rows, out, out_rows);
  if (linear.bias.empty() && !linear.has_overlays()) return;
  const std::int64_t rows = input_rows(x, x_rows), count = range.end - range.begin;
  for (std::int64_t i = 0; i < rows; ++i) {
    float* to = out.data + id_at(out_rows, i) * out.stride + range.begin;
    if (!linear.bias.empty()) {
      const float* bias = linear.bias.data() + range.begin;
      for (std::int64_t n = 0; n < count; ++n) to[n] += bias[n];
    }
    if (!linear.has_overlays()) continue;
    const std::span<const float> input = x.floats().row(id_at(x_rows, i));
    for (std::size_t o = 0; o < linear.overlays->size(); ++o) {
      const auto add = [&](const auto& overlay) {
        add_row(overlay, input, prepared_begin + i, scratch.parts[o], linear.weights.rows, range, to);
      };
      std::visit(add, (*linear.overlays)[o]);
    }
  }
}

void apply(const Linear& linear, const ActivationRows& x, MatrixView<float> out, ThreadPool& pool,
           OverlayScratch& scratch) {
  prepare_overlays(linear, x, {}, pool, scratch);
  const std::int64_t block_rows = matmul_block_rows(linear.weights), rows = linear.weights.rows;
  pool.for_each_block((rows + block_rows - 1) / block_rows, [&](std::int64_t block, int) {
    const std::int64_t begin = block * block_rows;
    apply(linear, {begin, std::min(begin + block_rows, rows)}, x, {}, out, {}, scratch);
  });
}

}  // namespace junto
