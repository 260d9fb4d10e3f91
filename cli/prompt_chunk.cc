#include "cli/prompt_chunk.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <variant>

#include "base/clock.h"
#include "model/working_memory.h"

namespace junto {
namespace {

constexpr int kChunkStep = 32, kMostRows = 8192;
// Reading and computing do not overlap wholly: the first experts of a layer are waited for.
constexpr double kChunkMargin = 1.25;

const Linear& some_matrix(const MixerWeights& mixer) {
  if (const auto* a = std::get_if<AttentionWeights>(&mixer)) return a->output;
  if (const auto* m = std::get_if<MlaWeights>(&mixer)) return m->output;
  if (const auto* c = std::get_if<ShortConvWeights>(&mixer)) return c->out;
  return std::get<ExpertAttentionWeights>(mixer).output.front();
}

}  // namespace

int choose_prompt_chunk(double disk_s, double row_s, int fits) {
  const double enough = row_s > 0 ? kChunkMargin * disk_s / row_s : 0;
  const double steps = std::ceil(std::min<double>(enough, kMostRows) / kChunkStep);
  return std::min(std::max(kPromptChunk, static_cast<int>(steps) * kChunkStep), fits);
}

int rows_that_fit(const Model& model, ActivationType activations, int threads, std::int64_t bytes) {
  int low = 1, high = kMostRows / kChunkStep;  // steps
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    working_bytes(model, activations, middle * kChunkStep, threads) <= bytes ? low = middle : high = middle - 1;
  }
  return low * kChunkStep;
}

double measure_row_s(const Model& model, ThreadPool& pool, ActivationType activations, std::int64_t bytes_per_row) {
  constexpr std::int64_t kProbeRows = 64;
  constexpr int kTimes = 3;
  const Linear& matrix = some_matrix(model.blocks.front().mixer);
  Matrix<float> x(kProbeRows, matrix.weights.cols), out(kProbeRows, matrix.weights.rows);
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] = static_cast<float>(i % 17) / 16 - 0.5f;
  ActivationRows rows;
  rows.assign(x.view());
  if (activations == ActivationType::kQ8 && model.quantised) rows.quantise_all();
  OverlayScratch scratch;
  double best_s = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTimes; ++i) {
    const double begin = now_s();
    apply(matrix, rows, out.view(), pool, scratch);
    best_s = std::min(best_s, now_s() - begin);
  }
  const auto probed = static_cast<double>(kProbeRows) * static_cast<double>(matrix.weights.stored_bytes());
  return best_s / probed * static_cast<double>(bytes_per_row);
}

std::int64_t prompt_bytes(const Checkpoint& checkpoint, ActivationType activations, int rows, int threads) {
  return working_bytes(*load_model(checkpoint), activations, rows > 0 ? rows : kPromptChunk, threads);
}

}  // namespace junto
