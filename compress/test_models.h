// For the tests of this room: oracle checkpoints, and what a model makes of their prompts.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "format/safetensors.h"
#include "model/decoder.h"

namespace junto {

inline const std::string kOracles = std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/";

inline std::vector<std::int32_t> token_ids(const Tensor& tensor) {
  std::vector<std::int32_t> ids(tensor.values());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::int64_t value = 0;
    std::memcpy(&value, tensor.bytes.data() + i * sizeof value, sizeof value);
    ids[i] = static_cast<std::int32_t>(value);
  }
  return ids;
}

/// The first prompt of an oracle, 48 ids, and the reference's logits [48, V].
struct Oracle {
  std::vector<std::int32_t> ids;
  std::vector<float> logits;
};

inline Oracle oracle(const std::string& name) {
  const SafetensorsFile expected = open_safetensors(kOracles + name + "/expected.safetensors");
  Oracle out{token_ids(*expected.tensors.find("input_ids")), decode(*expected.tensors.find("logits"))};
  out.ids.resize(out.ids.size() / 2);
  out.logits.resize(out.logits.size() / 2);
  return out;
}

/// Logits [T, V] of `ids`, `chunk` rows a call (0: all), without rounding beyond the weights' own.
inline std::vector<float> logits_of(const std::shared_ptr<const Model>& model, const std::vector<std::int32_t>& ids,
                                    int chunk = 0, int threads = 2) {
  ThreadPool pool(threads);
  Decoder decoder(model, pool, {DType::kF32, ActivationType::kF32});
  Sequence sequence;
  Sequence* const sequences[] = {&sequence};
  std::vector<float> logits;
  const std::size_t step = chunk > 0 ? chunk : ids.size();
  for (std::size_t begin = 0; begin < ids.size(); begin += step) {
    std::vector<Row> rows;
    for (std::size_t i = begin; i < std::min(ids.size(), begin + step); ++i) {
      Row row;
      row.token = ids[i];
      row.logits = true;
      rows.push_back(row);
    }
    Batch batch;
    batch.sequences = sequences;
    batch.rows = rows;
    const Outputs out = decoder.forward(batch);
    for (std::int64_t r = 0; r < out.logits.rows; ++r) {
      const auto row = out.logits.row(r);
      logits.insert(logits.end(), row.begin(), row.end());
    }
  }
  return logits;
}

inline std::vector<float> logits_of(const std::string& path, const std::vector<std::int32_t>& ids) {
  return logits_of(load_model(path), ids);
}

/// The largest |a - b|; infinite where sizes differ or a value is not finite.
inline float max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  float worst = 0.0f;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    if (!std::isfinite(difference)) return INFINITY;
    worst = std::max(worst, difference);
  }
  return worst;
}

/// Mean Kullback-Leibler divergence of softmax(b) from softmax(a) over rows of `vocabulary` logits, in nats.
inline double mean_divergence(const std::vector<float>& a, const std::vector<float>& b, std::size_t vocabulary) {
  const auto log_sum = [&](const float* row) {
    const float top = *std::max_element(row, row + vocabulary);
    double sum = 0;
    for (std::size_t v = 0; v < vocabulary; ++v) sum += std::exp(static_cast<double>(row[v] - top));
    return top + std::log(sum);
  };
  double total = 0;
  for (std::size_t at = 0; at < a.size(); at += vocabulary) {
    const double a_sum = log_sum(&a[at]), b_sum = log_sum(&b[at]);
    for (std::size_t v = 0; v < vocabulary; ++v) {
      total += std::exp(a[at + v] - a_sum) * ((a[at + v] - a_sum) - (b[at + v] - b_sum));
    }
  }
  return total / static_cast<double>(a.size() / vocabulary);
}

}  // namespace junto
