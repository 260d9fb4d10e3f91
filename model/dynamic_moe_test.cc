// The released form of Dynamic MoE held to its definition, written out in double without a line of the engine.
#include <gtest/gtest.h>

#include <set>

#include "model/test_double_decoder.h"
#include "model/test_dynamic_moe.h"

namespace junto {
namespace {

using namespace in_double;

constexpr int kSixExperts = 6;

/// The experts in order of their share, up to the one with which the sum exceeds `p`; all where none does.
Vector top_p_mixture(const WrittenModel& model, const std::string& prefix, double p, const Vector& x,
                     std::set<int>& counts) {
  const Vector logits = product(model.at(prefix + "router.weight"), x), shares = softmax(logits);
  Vector out(x.size(), 0.0);
  double sum = 0;
  int taken = 0;
  for (const int e : best_first(logits)) {
    if (sum > p) break;
    sum += shares[e], ++taken;
    const Vector given = swiglu(model, prefix + "experts." + std::to_string(e) + ".", x);
    for (std::size_t d = 0; d < x.size(); ++d) out[d] += shares[e] * given[d];
  }
  counts.insert(taken);
  return out;
}

TEST(DynamicMoe, TheReleasedNamesAndRulesGiveTheirDefinitionsLogits) {
  const Json variants[] = {
      Json::object(), {{"top_p_threshold", 0.75}}, {{"expert_frequency", 1}}, {{"top_p_threshold", 2.0}}};
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < 40; ++i) ids.push_back((i * 53 + 7) % 384);
  std::vector<std::set<int>> counts;
  for (const Json& changes : variants) {
    SCOPED_TRACE(changes.dump());
    const TestDirectory directory;
    const WrittenModel model = write_dynamic_moe(directory, changes);
    const int interval = model.config.value("expert_frequency", 2);
    counts.emplace_back();
    Parts parts{.attention_norm = "input_norm", .ffn_norm = "post_attention_norm", .feed_forward = {}};
    parts.feed_forward = [&](int layer, const Vector& normed) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".mlp.";
      if (layer % interval != 0) return swiglu(model, prefix + "mlp.", normed);
      return top_p_mixture(model, prefix, model.config.value("top_p_threshold", 0.4), normed, counts.back());
    };
    const EngineRun found = engine_run(directory.path(), ids, kSixExperts);
    EXPECT_LE(worst_of(decoder_logits(model, ids, parts), found.logits), 1e-4);
  }
  EXPECT_GE(counts[0].size(), 2u) << "the number of experts varies";
  EXPECT_GT(*counts[1].rbegin(), *counts[0].rbegin()) << "a larger share takes more";
  EXPECT_EQ(counts[3], std::set<int>{kSixExperts}) << "no sum exceeds 2";
}

TEST(DynamicMoe, AWrongConfigurationIsNamed) {
  const auto refusal = [](const Json& changes) {
    const TestDirectory directory;
    write_dynamic_moe(directory);
    directory.put("config.json", dynamic_moe_config(changes).dump());
    return error_of([&] { load_model(directory.path()); });
  };
  EXPECT_EQ(refusal(Json::object()), "no error");
  EXPECT_NE(refusal({{"num_experts", -1}}).find("config.json: num_experts is -1"), std::string::npos);
  EXPECT_NE(refusal({{"num_experts", 5}}).find("ffn_gate_inp"), std::string::npos);  // its router has six rows
  EXPECT_NE(refusal({{"expert_frequency", 0}}).find("expert_frequency is 0"), std::string::npos);
  EXPECT_NE(refusal({{"top_p_threshold", "most"}}).find("top_p_threshold is"), std::string::npos);
}

}  // namespace
}  // namespace junto
