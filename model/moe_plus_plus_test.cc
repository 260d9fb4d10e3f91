// The released form of MoE++ held to its definition, written out in double without a line of the engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "model/decoder.h"
#include "model/test_moe_plus_plus.h"

namespace junto {
namespace {

using Vector = std::vector<double>;

constexpr int kHeads = 4, kHeadDim = 8, kExperts = 9, kZero = 8, kCopy = 7, kFirstConstant = 5;

Vector product(const std::vector<float>& matrix, const Vector& x) {
  Vector out(matrix.size() / x.size(), 0.0);
  for (std::size_t r = 0; r < out.size(); ++r) {
    for (std::size_t c = 0; c < x.size(); ++c) out[r] += static_cast<double>(matrix[r * x.size() + c]) * x[c];
  }
  return out;
}

Vector rms_norm(const std::vector<float>& weight, const Vector& x) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  Vector out(x);
  for (std::size_t d = 0; d < x.size(); ++d)
    out[d] *= weight[d] / std::sqrt(squares / static_cast<double>(x.size()) + 1e-6);
  return out;
}

double silu(double x) {
  return x / (1 + std::exp(-x));
}

Vector softmax(const Vector& x) {
  Vector out;
  for (const double value : x) out.push_back(std::exp(value - *std::max_element(x.begin(), x.end())));
  const double sum = std::accumulate(out.begin(), out.end(), 0.0);
  for (double& value : out) value /= sum;
  return out;
}

/// One layer's mixture for one token; `carried` are the logits of the routed layer below, and become this one's.
class Layer {
 public:
  Layer(const MoePlusPlusModel& model, int layer)
      : model_(model), prefix_("model.layers." + std::to_string(layer) + ".mlp.") {}

  Vector mixture(const Vector& x, Vector& carried) const {
    Vector logits = flag("moe_2layer_gate") ? two_layers(x) : product(at("moe.gate.wg.weight"), x);
    if (!carried.empty()) {
      const Vector from_below = product(at("moe.gate.gate_map.weight"), carried);
      for (int e = 0; e < kExperts; ++e) logits[e] += from_below[e];
    }
    carried = logits;
    if (flag("moe_use_logits_norm")) to_deviation(model_.config["moe_gate_norm_std"], logits);
    const bool mixtral = flag("moe_use_mixtral_gating");
    std::vector<int> order(kExperts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
    const int best = order[0], second = order[1];
    const Vector scores = softmax(mixtral ? Vector{logits[best], logits[second]} : logits);
    Vector weights = mixtral ? scores : Vector{scores[best], scores[second]};
    if (!mixtral) {
      if (best == kZero) weights[0] = 0;
      if (second == kZero) weights[1] = 0;
      const double sum = weights[0] + weights[1];
      weights[0] /= sum, weights[1] /= sum;
    }
    Vector read = x, out(x.size(), 0.0);
    if (!mixtral && !flag("moe_feature_no_mul_topk")) {
      for (double& value : read) value *= 2;
    }
    for (int slot = 0; slot < 2; ++slot) {
      const Vector given = expert(order[slot], read);
      for (std::size_t d = 0; d < x.size(); ++d) out[d] += weights[slot] * given[d];
    }
    return out;
  }

  Vector dense(const Vector& x) const {
    const Vector gate = product(at("gate_proj.weight"), x), up = product(at("up_proj.weight"), x);
    Vector hidden;
    for (std::size_t i = 0; i < gate.size(); ++i) hidden.push_back(silu(gate[i]) * up[i]);
    return product(at("down_proj.weight"), hidden);
  }

 private:
  bool flag(const char* key) const { return model_.config[key].get<bool>(); }
  const std::vector<float>& at(const std::string& name) const { return model_.at(prefix_ + name); }

  Vector two_layers(const Vector& x) const {
    Vector hidden = product(at("moe.gate.wg.0.weight"), x);
    for (double& value : hidden) value = std::tanh(value);
    return product(at("moe.gate.wg.2.weight"), hidden);
  }

  static void to_deviation(double wanted, Vector& logits) {
    const double mean = std::accumulate(logits.begin(), logits.end(), 0.0) / kExperts;
    double squares = 0;
    for (const double logit : logits) squares += (logit - mean) * (logit - mean);
    for (double& logit : logits) logit *= wanted / std::sqrt(squares / (kExperts - 1));
  }

  Vector expert(int e, const Vector& x) const {
    if (e == kZero) return Vector(x.size(), 0.0);
    if (e == kCopy) return x;
    const std::string name = "moe.experts.experts." + std::to_string(e) + ".";
    if (e >= kFirstConstant) {
      const Vector mix = softmax(product(at(name + "wg.weight"), x));
      Vector out;
      for (std::size_t d = 0; d < x.size(); ++d) out.push_back(mix[0] * x[d] + mix[1] * at(name + "constant")[d]);
      return out;
    }
    const Vector both = product(at(name + "up_proj.weight"), x);
    Vector hidden;
    for (std::size_t i = 0; i < both.size() / 2; ++i) hidden.push_back(silu(both[i]) * both[i + both.size() / 2]);
    return product(at(name + "down_proj.weight"), hidden);
  }

  const MoePlusPlusModel& model_;
  const std::string prefix_;
};

void rotate(Vector& heads, std::size_t position) {
  for (std::size_t head = 0; head < heads.size(); head += kHeadDim) {
    for (int i = 0; i < kHeadDim / 2; ++i) {
      const double angle = static_cast<double>(position) * std::pow(10000.0, -2.0 * i / kHeadDim);
      const double a = heads[head + i], b = heads[head + i + kHeadDim / 2];
      heads[head + i] = a * std::cos(angle) - b * std::sin(angle);
      heads[head + i + kHeadDim / 2] = b * std::cos(angle) + a * std::sin(angle);
    }
  }
}

/// Of the last of `keys`; two heads of queries read one of keys and values.
Vector attend_to(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values) {
  Vector out(q.size(), 0.0);
  for (int head = 0; head < kHeads; ++head) {
    const int from = head / 2 * kHeadDim, to = head * kHeadDim;
    Vector scores;
    for (const Vector& key : keys) {
      double score = 0;
      for (int d = 0; d < kHeadDim; ++d) score += q[to + d] * key[from + d];
      scores.push_back(score / std::sqrt(static_cast<double>(kHeadDim)));
    }
    scores = softmax(scores);
    for (std::size_t t = 0; t < keys.size(); ++t) {
      for (int d = 0; d < kHeadDim; ++d) out[to + d] += scores[t] * values[t][from + d];
    }
  }
  return out;
}

void add_to(Vector& x, const Vector& more) {
  for (std::size_t d = 0; d < x.size(); ++d) x[d] += more[d];
}

/// Logits of every token of `ids`.
std::vector<Vector> reference_logits(const MoePlusPlusModel& model, const std::vector<std::int32_t>& ids) {
  const int layers = 3, interval = model.config["moe_expert_interval"];
  std::vector<std::vector<Vector>> keys(layers), values(layers);
  std::vector<Vector> logits;
  for (std::size_t position = 0; position < ids.size(); ++position) {
    const float* row = model.at("model.embed_tokens.weight").data() + ids[position] * 32;
    Vector x(row, row + 32), carried;
    for (int layer = 0; layer < layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      const Vector read = rms_norm(model.at(prefix + "input_layernorm.weight"), x);
      Vector q = product(model.at(prefix + "self_attn.q_proj.weight"), read);
      Vector k = product(model.at(prefix + "self_attn.k_proj.weight"), read);
      rotate(q, position);
      rotate(k, position);
      keys[layer].push_back(k);
      values[layer].push_back(product(model.at(prefix + "self_attn.v_proj.weight"), read));
      add_to(x, product(model.at(prefix + "self_attn.o_proj.weight"), attend_to(q, keys[layer], values[layer])));
      const Vector normed = rms_norm(model.at(prefix + "post_attention_layernorm.weight"), x);
      const Layer moe(model, layer);
      add_to(x, (layer + 1) % interval == 0 ? moe.mixture(normed, carried) : moe.dense(normed));
    }
    logits.push_back(product(model.at("lm_head.weight"), rms_norm(model.at("model.norm.weight"), x)));
  }
  return logits;
}

/// What the engine makes of the directory; which kinds of experts its tokens used.
struct EngineRun {
  std::vector<std::vector<float>> logits;
  std::vector<int> uses = std::vector<int>(kExperts);
};

EngineRun engine_run(const std::string& path, const std::vector<std::int32_t>& ids) {
  EngineRun out;
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

TEST(MoePlusPlus, TheReleasedNamesAndRulesGiveTheirDefinitionsLogits) {
  const Json variants[] = {Json::object(),
                           {{"moe_2layer_gate", false}},
                           {{"moe_feature_no_mul_topk", true}},
                           {{"moe_use_mixtral_gating", true}},
                           {{"moe_use_logits_norm", true}, {"moe_gate_norm_std", 2.0}},
                           {{"moe_use_logits_norm", true}, {"moe_use_mixtral_gating", true}},
                           {{"moe_expert_interval", 2}, {"num_experts", 9}}};
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < 40; ++i) ids.push_back((i * 53 + 7) % 384);
  std::vector<int> uses(kExperts);
  for (const Json& changes : variants) {
    SCOPED_TRACE(changes.dump());
    const TestDirectory directory;
    const MoePlusPlusModel model = write_moe_plus_plus(directory, changes);
    const std::vector<Vector> expected = reference_logits(model, ids);
    const EngineRun found = engine_run(directory.path(), ids);
    double largest = 0, worst = 0;
    for (std::size_t t = 0; t < ids.size(); ++t) {
      for (std::size_t v = 0; v < expected[t].size(); ++v) {
        largest = std::max(largest, std::fabs(expected[t][v]));
        worst = std::max(worst, std::fabs(expected[t][v] - static_cast<double>(found.logits[t][v])));
      }
    }
    EXPECT_LE(worst, 1e-4 * largest);
    for (std::size_t e = 0; e < uses.size(); ++e) uses[e] += found.uses[e];
  }
  for (std::size_t e = 0; e < uses.size(); ++e) EXPECT_GT(uses[e], 0) << "expert " << e;
}

TEST(MoePlusPlus, AWrongConfigurationIsNamed) {
  const auto refusal = [](const Json& changes) {
    const TestDirectory directory;
    write_moe_plus_plus(directory);
    directory.put("config.json", moe_plus_plus_config(changes).dump());
    return error_of([&] { load_model(directory.path()); });
  };
  EXPECT_EQ(refusal(Json::object()), "no error");
  EXPECT_NE(refusal({{"num_experts", Json::array({4})}}).find("num_experts is 4"), std::string::npos);
  EXPECT_NE(refusal({{"num_experts", Json::array()}}).find("num_experts is 0"), std::string::npos);
  EXPECT_NE(refusal({{"num_experts", Json::array({9.5})}}).find("num_experts is 9.5"), std::string::npos);
  EXPECT_NE(refusal({{"num_experts", Json::array({8})}}).find("ffn_gate_inp"),
            std::string::npos);  // its router has nine rows
  EXPECT_NE(refusal({{"moe_gate_norm_std", 0}, {"moe_use_logits_norm", true}}).find("moe_gate_norm_std is 0"),
            std::string::npos);
  EXPECT_NE(refusal({{"rope_scaling", {{"type", "ntk"}, {"factor", 2.0}}}}).find("ntk"), std::string::npos);
}

}  // namespace
}  // namespace junto
