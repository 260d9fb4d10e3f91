#include "compress/llama_cpp_architectures.h"

#include <string>
#include <utility>

#include "base/error.h"

namespace junto {
namespace {

const LlamaCppArchitecture kArchitectures[] = {
    {"llama", kRopeFreqs, kAnyShape, {}, {"attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"}},
    {"qwen2", 0, kSquareQ, {}, {"output.bias"}},
    {"qwen2moe", kExpertFfn | kSharedFfn, kSquareQ, {"output.weight", "ffn_up_shexp.weight"}, {}},
    {"qwen3", 0, kAnyShape, {}, {}},
    {"qwen3moe", kExpertFfn, kAnyShape, {}, {}},
    {"olmoe", 0, kSquareQ, {"output.weight"}, {}},
    {"deepseek2",
     kExpertFfn | kSharedCount | kLeadingDense | kScale | kNorm | kGating | kMla | kYarnLog,
     kDenseLeadsOnly,
     {"ffn_up_shexp.weight"},
     {"exp_probs_b.bias"}},
    {"gemma3", kWindow | kWindowPattern | kWindowRope | kSoftcap, kAnyShape, {}, {}},
    {"gpt-oss",
     kExpertFfn | kWindow | kWindowPattern,
     kAnyShape,
     {"output.weight", "attn_output.bias", "attn_sinks.weight", "ffn_gate_inp.bias", "ffn_gate_exps.bias",
      "ffn_up_exps.bias", "ffn_down_exps.bias"},
     {"attn_output.bias", "ffn_gate_inp.bias", "ffn_gate_exps.bias", "ffn_up_exps.bias", "ffn_down_exps.bias"}},
    {"granitemoe", kMultipliers | kSharedFfn | kRopeFreqs, kAnyShape, {}, {"attn_output.bias"}},
    {"phimoe", 0, kSquareQ, {}, {}, "it routes by a softmax, not by SparseMixer"},
    {"glm4moe",
     kExpertFfn | kSharedCount | kLeadingDense | kScale | kNorm | kGating,
     kDenseLeadsOnly,
     {"exp_probs_b.bias"},
     {"exp_probs_b.bias"}},
    {"dots1",
     kExpertFfn | kSharedCount | kLeadingDense | kScale | kNorm | kGating,
     kEqualHeads | kDenseLeadsOnly,
     {"output.weight", "ffn_up_shexp.weight"},
     {"exp_probs_b.bias"}},
    {"minimax-m2", kExpertFfn | kGating, kAnyShape, {"output.weight", "exp_probs_b.bias"}, {"exp_probs_b.bias"}},
    {"ernie4_5-moe", kExpertFfn | kSharedFfn | kMoeStep | kLeadingDense, kDenseLeadsOnly, {}, {"exp_probs_b.bias"}},
    {"hunyuan-moe", kExpertFfn | kSharedFfn, kAnyShape, {"ffn_up_shexp.weight"}, {}},
    {"dbrx", kClamp, kSquareQ | kFusedQkv, {"output.weight"}, {}},
    {"lfm2moe",
     kShortConv | kLeadingDense | kExpertFfn | kGating,
     kSquareQ | kDenseLeadsOnly,
     {"exp_probs_b.bias"},
     {"exp_probs_b.bias"}},
    {"llama4", kExpertFfn | kMoeStep | kRopeFreqs, kAnyShape, {"ffn_up_shexp.weight"}, {}},
    {"afmoe",
     kExpertFfn | kSharedCount | kLeadingDense | kScale | kNorm | kGating | kWindow,
     kDenseLeadsOnly,
     {"exp_probs_b.bias"},
     {"exp_probs_b.bias"}},
};

constexpr std::pair<std::string_view, std::string_view> kNames[] = {
    {"LlamaForCausalLM", "llama"},
    {"MistralForCausalLM", "llama"},
    {"MixtralForCausalLM", "llama"},
    {"Qwen2ForCausalLM", "qwen2"},
    {"Qwen2MoeForCausalLM", "qwen2moe"},
    {"Qwen3ForCausalLM", "qwen3"},
    {"Qwen3MoeForCausalLM", "qwen3moe"},
    {"OlmoeForCausalLM", "olmoe"},
    {"DeepseekV2ForCausalLM", "deepseek2"},
    {"DeepseekV3ForCausalLM", "deepseek2"},
    {"Gemma3ForCausalLM", "gemma3"},
    {"GptOssForCausalLM", "gpt-oss"},
    {"GraniteMoeForCausalLM", "granitemoe"},
    {"PhimoeForCausalLM", "phimoe"},
    {"Glm4MoeForCausalLM", "glm4moe"},
    {"Dots1ForCausalLM", "dots1"},
    {"MiniMaxM2ForCausalLM", "minimax-m2"},
    {"Ernie4_5_MoeForCausalLM", "ernie4_5-moe"},
    {"HunYuanMoEV1ForCausalLM", "hunyuan-moe"},
    {"DbrxForCausalLM", "dbrx"},
    {"Lfm2MoeForCausalLM", "lfm2moe"},
    {"Llama4ForCausalLM", "llama4"},
    {"AfmoeForCausalLM", "afmoe"},
};

}  // namespace

const LlamaCppArchitecture& llama_cpp_architecture(std::string_view name) {
  for (const LlamaCppArchitecture& row : kArchitectures) {
    if (row.name == name) return row;
  }
  fail("general.architecture", "no keys are known for " + printable(name));
}

std::string_view llama_cpp_name(std::string_view hf_class) {
  for (const auto& [hf, name] : kNames) {
    if (hf == hf_class) return name;
  }
  return {};
}

}  // namespace junto
