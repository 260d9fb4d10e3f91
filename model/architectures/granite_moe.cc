// GraniteMoE (IBM Granite 3.0): scalar multipliers on embedding, attention, residual and logits.
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.block_sparse_moe.router.layer.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.block_sparse_moe.input_linear.weight", "blk.#.ffn_gate.#.weight,blk.#.ffn_up.#.weight",
     TensorForm::kExpertsSplitRows},
    {"model.layers.#.block_sparse_moe.output_linear.weight", "blk.#.ffn_down_exps.weight"},
};

}  // namespace

std::span<const TensorRule> granite_moe_tensors() {
  return kTensors;
}

ModelConfig declare_granite_moe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {.style = llama_rope_style(r)});
  m.embedding_multiplier = static_cast<float>(r.number_or({"embedding_multiplier", "embedding_scale"}, 1.0));
  m.residual_multiplier = static_cast<float>(r.number_or({"residual_multiplier", "residual_scale"}, 1.0));
  const double scaling = r.number_or({"logits_scaling", "logit_scale"}, 1.0);
  if (scaling == 0) r.refuse({"logits_scaling", "logit_scale"}, "0", "a number other than 0");
  m.logit_multiplier = static_cast<float>(1.0 / scaling);
  const RouterSpec router = declare_logit_router(r);
  for (BlockSpec& block : m.blocks) {
    attention_of(block).scale = static_cast<float>(
        r.number_or({"attention_multiplier", "attention.scale"}, r.gguf() ? attention_of(block).scale : 1.0));
    make_routed(block, router);
  }
  return m;
}

}  // namespace junto
