// FlexOlmo (arXiv 2507.07024): OLMo 2's blocks (norms on the outputs only) with routed feed-forwards.
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.post_attention_layernorm.weight", "blk.#.post_attention_norm.weight"},
    {"model.layers.#.post_feedforward_layernorm.weight", "blk.#.post_ffw_norm.weight"},
};

}  // namespace

std::span<const TensorRule> flex_olmo_tensors() {
  return kTensors;
}

ModelConfig declare_flex_olmo(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {.default_theta = 500000.0});
  const RouterSpec router = declare_softmax_router(r, r.boolean_or({"norm_topk_prob", nullptr}, false));
  for (BlockSpec& block : m.blocks) {
    attention_of(block).qk_norm = QkNorm::kFullWidth;
    block.mixer_norm = block.ffn_norm = {.pre = false, .post = true};
    make_routed(block, router);
  }
  return m;
}

}  // namespace junto
