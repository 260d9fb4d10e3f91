// The released form of MoE++ held to its definition, written out in double without a line of the engine.
#include <gtest/gtest.h>

#include <numeric>

#include "model/test_double_decoder.h"
#include "model/test_moe_plus_plus.h"

namespace junto {
namespace {

using namespace in_double;

constexpr int kExperts = 9, kZero = 8, kCopy = 7, kFirstConstant = 5;

/// One layer's mixture for one token; `carried` are the logits of the routed layer below, and become this one's.
class Layer {
 public:
  Layer(const WrittenModel& model, int layer)
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
    const std::vector<int> order = best_first(logits);
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

  const WrittenModel& model_;
  const std::string prefix_;
};

/// Logits of every token of `ids`.
std::vector<Vector> reference_logits(const WrittenModel& model, const std::vector<std::int32_t>& ids) {
  const int interval = model.config["moe_expert_interval"];
  Vector carried;
  Parts parts;
  parts.begin_token = [&] { carried.clear(); };
  parts.feed_forward = [&](int layer, const Vector& normed) {
    if ((layer + 1) % interval == 0) return Layer(model, layer).mixture(normed, carried);
    return swiglu(model, "model.layers." + std::to_string(layer) + ".mlp.", normed);
  };
  return decoder_logits(model, ids, parts);
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
    const WrittenModel model = write_moe_plus_plus(directory, changes);
    const std::vector<Vector> expected = reference_logits(model, ids);
    const EngineRun found = engine_run(directory.path(), ids, kExperts);
    EXPECT_LE(worst_of(expected, found.logits), 1e-4);
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
