// MoE++ (Jin et al., arXiv 2410.07348), as its authors released it (github.com/SkyworkAI/MoE-plus-plus): Llama's
// decoder, whose routed layers end with two constant experts, a copy and a zero one.
#include <string>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr int kConstantExperts = 2, kFreeExperts = kConstantExperts + 2, kExpertsPerToken = 2;
constexpr int kHiddenOfExpert = 8;  // of a two-layer router, for each expert

constexpr TensorRule kTensors[] = {
    {"model.layers.#.mlp.moe.gate.wg.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.mlp.moe.gate.wg.#.weight", "blk.#.ffn_gate_inp_hidden.weight,blk.#.ffn_gate_inp.weight",
     TensorForm::kFirstOrLater},
    {"model.layers.#.mlp.moe.gate.gate_map.weight", "blk.#.ffn_gate_res.weight"},
    {"model.layers.#.mlp.moe.experts.experts.#.up_proj.weight", "blk.#.ffn_gate.#.weight,blk.#.ffn_up.#.weight",
     TensorForm::kSplitRows},
    {"model.layers.#.mlp.moe.experts.experts.#.down_proj.weight", "blk.#.ffn_down.#.weight"},
    {"model.layers.#.mlp.moe.experts.experts.#.constant", "blk.#.ffn_constant.#.weight"},
    {"model.layers.#.mlp.moe.experts.experts.#.wg.weight", "blk.#.ffn_constant_mix.#.weight"},
};

/// A list of which the released code reads the first number, or a number.
int experts_of(const ConfigReader& r) {
  const Key key = {"num_experts", nullptr};
  double count = 0;
  if (r.has(key) && r.json().at(key.hf).is_array()) {
    const std::vector<double> listed = r.numbers(key);
    count = listed.empty() ? 0 : listed.front();
  } else {
    count = static_cast<double>(r.integer(key, 0, kMaxExperts));
  }
  const auto experts = static_cast<int>(count > 0 && count <= kMaxExperts ? count : 0);
  if (experts != count || experts <= kFreeExperts) {
    r.refuse(key, Json(count).dump(),
             "a whole number above " + std::to_string(kFreeExperts) + ", the experts without weights among them");
  }
  return experts;
}

RouterSpec router_of(const ConfigReader& r) {
  RouterSpec router;
  router.experts = experts_of(r);
  if (r.boolean_or({"moe_2layer_gate", nullptr}, true)) {
    router.logits = LogitsKind::kTwoLayer;
    router.logits_hidden = kHiddenOfExpert * router.experts;
  }
  router.logit_residual = true;
  if (r.boolean_or({"moe_use_logits_norm", nullptr}, false)) {
    const Key key = {"moe_gate_norm_std", nullptr};
    const double deviation = r.number_or(key, 1.0);
    if (!(deviation > 0 && deviation < 1e30)) r.refuse(key, std::to_string(deviation), "a number above 0");
    router.logit_deviation = static_cast<float>(deviation);
  }
  router.select = TopK{kExpertsPerToken};
  if (r.boolean_or({"moe_use_mixtral_gating", nullptr}, false)) {
    router.score = Score::kLogit;
    router.weigh = Weigh::kSoftmaxOfChosen;
  } else {
    router.weigh = Weigh::kRenormalised;
    router.weightless = 1;
  }
  return router;
}

}  // namespace

std::span<const TensorRule> moe_plus_plus_tensors() {
  return kTensors;
}

ModelConfig declare_moe_plus_plus(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r);
  const RouterSpec router = router_of(r);
  const bool scaled = !r.boolean_or({"moe_use_mixtral_gating", nullptr}, false) &&
                      !r.boolean_or({"moe_feature_no_mul_topk", nullptr}, false);
  const std::int64_t interval = r.integer_or({"moe_expert_interval", nullptr}, 1, 1, kMaxLayers);
  for (BlockSpec& block : m.blocks) {
    if ((block.layer + 1) % interval != 0) continue;  // the released code fails here: logits are carried past
    make_routed(block, router);
    block.moe.activation = Activation();  // whatever hidden_act says of dense layers
    block.moe.input_scale = scaled ? static_cast<float>(kExpertsPerToken) : 1.0f;
    const int weighted = router.experts - kFreeExperts;
    for (int e = weighted; e < router.experts; ++e) {
      const int place = e - weighted;
      block.moe.kinds[e] = place < kConstantExperts    ? ExpertKind::kConstant
                           : place == kConstantExperts ? ExpertKind::kCopy
                                                       : ExpertKind::kZero;
    }
  }
  return m;
}

}  // namespace junto
