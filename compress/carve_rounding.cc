#include "compress/carve_rounding.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "compress/carve_products.h"
#include "tensor/block_formats.h"
#include "tensor/half.h"

namespace junto {
namespace {

// Of the mean squared activation, added to all: what the text did not show costs something too.
constexpr double kRoundingRidge = 0.01;
// More tokens than this for each neuron say nothing new.
constexpr std::int64_t kTokensPerNeuron = 8;
// Outputs that one thread rounds at a time, at least.
constexpr std::int64_t kChunk = 64;

// Neurons by energy, the least first.
std::vector<std::int64_t> by_energy(MatrixView<const float> activations) {
  std::vector<double> energy;
  for (std::int64_t n = 0; n < activations.rows; ++n) {
    const std::span<const float> row = activations.row(n);
    energy.push_back(std::inner_product(row.begin(), row.end(), row.begin(), 0.0));
  }
  std::vector<std::int64_t> order(energy.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return energy[a] < energy[b]; });
  return order;
}

// Activations [F, tokens] over the norm of the residual stream, of every step-th token.
Matrix<float> relative_activations(const BlockSample& sample, ThreadPool& pool) {
  const std::int64_t step = std::max<std::int64_t>(1, sample.tokens / (kTokensPerNeuron * sample.width));
  Matrix<float> by_token(sample.tokens / step, sample.width), out(sample.width, sample.tokens / step);
  pool.for_each_block(by_token.rows, [&](std::int64_t i, int) {
    const std::int64_t t = i * step;
    const float inverse = 1.0f / std::sqrt(std::max(sample.stream_squares[t], 1e-20f));
    const std::span<float> row = by_token.view().row(i);
    for (std::int64_t n = 0; n < sample.width; ++n)
      row[n] = bf16_to_float(sample.hidden[t * sample.width + n]) * inverse;
  });
  transpose(by_token.view(), out.view(), pool);
  return out;
}

/// How an error of one neuron is answered by the next ones.
struct Answers {
  std::vector<std::int64_t> order;  // [F]: neurons; the last is rounded first
  Matrix<float> factors;            // [F, F]: of place j for the error of place i > j
};

Answers answers_of(const BlockSample& sample, ThreadPool& pool) {
  Matrix<float> activations = relative_activations(sample, pool);
  Answers answers{by_energy(activations.view()), Matrix<float>(sample.width, sample.width)};
  Matrix<float> ordered(activations.rows, activations.cols), moments(sample.width, sample.width);
  for (std::int64_t j = 0; j < sample.width; ++j)
    std::ranges::copy(activations.view().row(answers.order[j]), ordered.view().row(j).begin());
  multiply_transposed(ordered.view(), ordered.view(), moments.view(), pool);
  const LowerTriangle lower = cholesky(moments.view(), kRoundingRidge, false, pool);
  for (std::int64_t j = 0; j < sample.width; ++j) {
    for (std::int64_t i = j + 1; i < sample.width; ++i)
      answers.factors.view().at(j, i) = static_cast<float>(lower.at(i, j) / lower.at(j, j));
  }
  return answers;
}

// Outputs [first, first + count) of all neurons.
void round_chunk(const Answers& answers, MatrixView<const float> down, DType type, std::int64_t first,
                 std::int64_t count, std::span<std::byte> out) {
  const std::size_t row_bytes = bytes_of(type, down.rows);
  Matrix<float> errors(down.cols, count);
  std::vector<float> exact(static_cast<std::size_t>(count)), wanted(exact.size()), rounded(exact.size());
  for (std::int64_t j = down.cols; j-- > 0;) {
    const std::int64_t n = answers.order[j];
    for (std::int64_t r = 0; r < count; ++r) exact[r] = down.at(first + r, n);
    wanted = exact;
    for (std::int64_t i = j + 1; i < down.cols; ++i) {
      const float factor = answers.factors.view().at(j, i);
      const float* error = errors.view().row(i).data();
      for (std::int64_t r = 0; r < count; ++r) wanted[r] += factor * error[r];
    }
    std::byte* bytes = out.data() + static_cast<std::size_t>(n) * row_bytes + bytes_of(type, first);
    encode_values(type, wanted, bytes);
    decode_values(type, bytes, rounded);
    const std::span<float> error = errors.view().row(j);
    for (std::int64_t r = 0; r < count; ++r) error[r] = exact[r] - rounded[r];
  }
}

void encode_columns(MatrixView<const float> down, DType type, std::span<std::byte> out, ThreadPool& pool) {
  const std::size_t row_bytes = bytes_of(type, down.rows);
  pool.for_each_block(down.cols, [&](std::int64_t n, int) {
    std::vector<float> column(static_cast<std::size_t>(down.rows));
    for (std::int64_t r = 0; r < down.rows; ++r) column[r] = down.at(r, n);
    encode_values(type, column, out.data() + static_cast<std::size_t>(n) * row_bytes);
  });
}

}  // namespace

Tensor round_columns(const BlockSample& sample, MatrixView<const float> down, DType type, ThreadPool& pool) {
  auto bytes =
      std::make_shared<std::vector<std::byte>>(bytes_of(type, down.rows) * static_cast<std::size_t>(down.cols));
  const std::int64_t block = block_format(type).block_values;
  if (block == 1) {
    encode_columns(down, type, *bytes, pool);
  } else {
    const Answers answers = answers_of(sample, pool);
    const std::int64_t chunk = (kChunk + block - 1) / block * block;
    pool.for_each_block((down.rows + chunk - 1) / chunk, [&](std::int64_t i, int) {
      round_chunk(answers, down, type, i * chunk, std::min(chunk, down.rows - i * chunk), *bytes);
    });
  }
  return {type, {down.cols, down.rows}, *bytes, bytes};
}

}  // namespace junto
