// For tests: Llama's decoder in double, written out without a line of the engine, around any feed-forward part.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "model/test_written_model.h"

namespace junto::in_double {

using Vector = std::vector<double>;

inline Vector product(const std::vector<float>& matrix, const Vector& x) {
  Vector out(matrix.size() / x.size(), 0.0);
  for (std::size_t r = 0; r < out.size(); ++r) {
    for (std::size_t c = 0; c < x.size(); ++c) out[r] += static_cast<double>(matrix[r * x.size() + c]) * x[c];
  }
  return out;
}

inline Vector rms_norm(const std::vector<float>& weight, const Vector& x) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  Vector out(x);
  for (std::size_t d = 0; d < x.size(); ++d)
    out[d] *= weight[d] / std::sqrt(squares / static_cast<double>(x.size()) + 1e-6);
  return out;
}

inline double silu(double x) {
  return x / (1 + std::exp(-x));
}

inline Vector softmax(const Vector& x) {
  Vector out;
  for (const double value : x) out.push_back(std::exp(value - *std::max_element(x.begin(), x.end())));
  const double sum = std::accumulate(out.begin(), out.end(), 0.0);
  for (double& value : out) value /= sum;
  return out;
}

/// The experts, best logit first; of equal ones the first.
inline std::vector<int> best_first(const Vector& logits) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  return order;
}

/// Of `<prefix>{gate,up,down}_proj.weight`.
inline Vector swiglu(const WrittenModel& model, const std::string& prefix, const Vector& x) {
  const Vector gate = product(model.at(prefix + "gate_proj.weight"), x);
  const Vector up = product(model.at(prefix + "up_proj.weight"), x);
  Vector hidden;
  for (std::size_t i = 0; i < gate.size(); ++i) hidden.push_back(silu(gate[i]) * up[i]);
  return product(model.at(prefix + "down_proj.weight"), hidden);
}

/// Base 10,000, halves of a head paired.
inline void rotate(Vector& heads, std::size_t head_dim, std::size_t position) {
  for (std::size_t head = 0; head < heads.size(); head += head_dim) {
    for (std::size_t i = 0; i < head_dim / 2; ++i) {
      const double angle = static_cast<double>(position) *
                           std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      const double a = heads[head + i], b = heads[head + i + head_dim / 2];
      heads[head + i] = a * std::cos(angle) - b * std::sin(angle);
      heads[head + i + head_dim / 2] = b * std::cos(angle) + a * std::sin(angle);
    }
  }
}

/// Of the last of `keys`.
inline Vector attend_to(const Vector& q, std::size_t head_dim, const std::vector<Vector>& keys,
                        const std::vector<Vector>& values) {
  Vector out(q.size(), 0.0);
  for (std::size_t head = 0; head < q.size() / head_dim; ++head) {
    const std::size_t to = head * head_dim, from = head * keys[0].size() / q.size() * head_dim;
    Vector scores;
    for (const Vector& key : keys) {
      double score = 0;
      for (std::size_t d = 0; d < head_dim; ++d) score += q[to + d] * key[from + d];
      scores.push_back(score / std::sqrt(static_cast<double>(head_dim)));
    }
    scores = softmax(scores);
    for (std::size_t t = 0; t < keys.size(); ++t) {
      for (std::size_t d = 0; d < head_dim; ++d) out[to + d] += scores[t] * values[t][from + d];
    }
  }
  return out;
}

inline void add_to(Vector& x, const Vector& more) {
  for (std::size_t d = 0; d < x.size(); ++d) x[d] += more[d];
}

/// What of a decoder is not Llama's.
struct Parts {
  std::string attention_norm = "input_layernorm", ffn_norm = "post_attention_layernorm";
  std::function<void()> begin_token = [] {};
  std::function<Vector(int layer, const Vector& normed)> feed_forward;
};

/// Logits of every token of `ids`.
inline std::vector<Vector> decoder_logits(const WrittenModel& model, const std::vector<std::int32_t>& ids,
                                          const Parts& parts) {
  const int layers = model.config["num_hidden_layers"];
  const std::size_t hidden = model.config["hidden_size"], heads = model.config["num_attention_heads"];
  const std::size_t head_dim = hidden / heads;
  std::vector<std::vector<Vector>> keys(layers), values(layers);
  std::vector<Vector> logits;
  for (std::size_t position = 0; position < ids.size(); ++position) {
    const float* row = model.at("model.embed_tokens.weight").data() + static_cast<std::size_t>(ids[position]) * hidden;
    Vector x(row, row + hidden);
    parts.begin_token();
    for (int layer = 0; layer < layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      const Vector read = rms_norm(model.at(prefix + parts.attention_norm + ".weight"), x);
      Vector q = product(model.at(prefix + "self_attn.q_proj.weight"), read);
      Vector k = product(model.at(prefix + "self_attn.k_proj.weight"), read);
      rotate(q, head_dim, position);
      rotate(k, head_dim, position);
      keys[layer].push_back(k);
      values[layer].push_back(product(model.at(prefix + "self_attn.v_proj.weight"), read));
      add_to(x,
             product(model.at(prefix + "self_attn.o_proj.weight"), attend_to(q, head_dim, keys[layer], values[layer])));
      add_to(x, parts.feed_forward(layer, rms_norm(model.at(prefix + parts.ffn_norm + ".weight"), x)));
    }
    logits.push_back(product(model.at("lm_head.weight"), rms_norm(model.at("model.norm.weight"), x)));
  }
  return logits;
}

/// What the engine makes of a directory, fed token by token in F32, and how often it used each expert.
struct EngineRun {
  std::vector<std::vector<float>> logits;
  std::vector<int> uses;
};

inline EngineRun engine_run(const std::string& path, const std::vector<std::int32_t>& ids, int experts) {
  EngineRun out{.logits = {}, .uses = std::vector<int>(experts)};
  ThreadPool pool(2);
  Decoder decoder(load_model(path), pool, {DType::kF32, ActivationType::kF32});
  Hooks hooks;
  hooks.observe_points = mask_of(Point::kPlan);
  hooks.observe = [&](const Observation& seen) {
    for (const std::int32_t e : seen.plan->expert) ++out.uses[static_cast<std::size_t>(e)];
  };
  Sequence sequence;
  for (const std::int32_t id : ids) {
    const std::span<const float> row = decoder.feed(sequence, std::vector<std::int32_t>{id}, 0, &hooks);
    out.logits.emplace_back(row.begin(), row.end());
  }
  return out;
}

/// The largest difference between the two, as a share of the largest expected logit.
inline double worst_of(const std::vector<Vector>& expected, const std::vector<std::vector<float>>& found) {
  double largest = 0, worst = 0;
  for (std::size_t t = 0; t < expected.size(); ++t) {
    for (std::size_t v = 0; v < expected[t].size(); ++v) {
      largest = std::max(largest, std::fabs(expected[t][v]));
      worst = std::max(worst, std::fabs(expected[t][v] - static_cast<double>(found.at(t).at(v))));
    }
  }
  return worst / largest;
}

}  // namespace junto::in_double
