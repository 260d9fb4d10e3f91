#include "model/architectures.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/architectures/declarations.h"
#include "model/stored_paths.h"
#include "model/stored_routing.h"

namespace junto {
namespace {

// clang-format off
const Architecture kArchitectures[] = {
    {"llama",       "LlamaForCausalLM",         declare_llama,         {}, {}, true},
    {"",            "MistralForCausalLM",       declare_mistral},
    {"",            "MixtralForCausalLM",       declare_mixtral,       mixtral_tensors()},
    {"olmoe",       "OlmoeForCausalLM",         declare_olmoe},
    {"",            "MinistralForCausalLM",     declare_mistral},
    {"",            "FlexOlmoForCausalLM",      declare_flex_olmo,     flex_olmo_tensors()},
    {"qwen2",       "Qwen2ForCausalLM",         declare_qwen2},
    {"qwen2moe",    "Qwen2MoeForCausalLM",      declare_qwen2_moe,     qwen2_moe_tensors()},
    {"qwen3",       "Qwen3ForCausalLM",         declare_qwen3},
    {"qwen3moe",    "Qwen3MoeForCausalLM",      declare_qwen3_moe},
    {"",            "DeepseekV2ForCausalLM",    declare_deepseek_v2,   deepseek_tensors()},
    {"deepseek2",   "DeepseekV3ForCausalLM",    declare_deepseek_v3,   deepseek_tensors()},
    {"",            "LongcatFlashForCausalLM",  declare_longcat_flash, longcat_flash_tensors()},
    {"gemma3",      "Gemma3ForCausalLM",        declare_gemma3,        gemma3_tensors()},
    {"gpt-oss",     "GptOssForCausalLM",        declare_gpt_oss,       gpt_oss_tensors(), post_norm_gguf_tensors()},
    {"granitemoe",  "GraniteMoeForCausalLM",    declare_granite_moe,   granite_moe_tensors(), {}, true},
    {"phimoe",      "PhimoeForCausalLM",        declare_phimoe,        mixtral_tensors()},
    {"glm4moe",     "Glm4MoeForCausalLM",       declare_glm4_moe,      {}, post_norm_gguf_tensors()},
    {"dots1",       "Dots1ForCausalLM",         declare_dots1},
    {"minimax-m2",  "MiniMaxM2ForCausalLM",     declare_minimax_m2,    minimax_m2_tensors()},
    {"ernie4_5-moe", "Ernie4_5_MoeForCausalLM", declare_ernie4_5_moe,  ernie4_5_moe_tensors()},
    {"hunyuan-moe", "HunYuanMoEV1ForCausalLM",  declare_hunyuan_moe,   hunyuan_moe_tensors()},
    {"dbrx",        "DbrxForCausalLM",          declare_dbrx,          dbrx_tensors(), dbrx_gguf_tensors()},
    {"",            "JetMoeForCausalLM",        declare_jetmoe,        jetmoe_tensors()},
    {"lfm2moe",     "Lfm2MoeForCausalLM",       declare_lfm2_moe,      lfm2_moe_tensors(), lfm2_moe_gguf_tensors()},
    {"llama4",      "Llama4ForCausalLM",        declare_llama4,        llama4_tensors()},
    {"afmoe",       "AfmoeForCausalLM",         declare_afmoe,         afmoe_tensors()},
    {"",            "MoeForCausalLM",           declare_moe_plus_plus, moe_plus_plus_tensors()},
    {"",            "MoEForCausalLM",           declare_dynamic_moe,   dynamic_moe_tensors()},
};
// clang-format on

const Architecture& find_architecture(const std::string& file, std::string_view field, std::string_view name,
                                      std::string_view Architecture::*column) {
  std::vector<std::string_view> known;
  for (const Architecture& row : kArchitectures) {
    if (row.*column == name && !name.empty()) return row;
    if (!(row.*column).empty()) known.push_back(row.*column);
  }
  std::string message = std::string(field) + " is " + printable(name) + ", which Junto does not know";
  if (const std::string_view near = nearest(name, known); !near.empty())
    message += "; the nearest is " + std::string(near);
  fail(file, message);
}

std::string hf_architecture(const Checkpoint& checkpoint, const Json& config) {
  const auto names = config.is_object() ? config.find("architectures") : config.end();
  if (!config.is_object() || names == config.end() || !names->is_array() || names->empty() ||
      !(*names)[0].is_string()) {
    fail(checkpoint.path, "config: architectures is missing, expected a list with one name such as LlamaForCausalLM");
  }
  return (*names)[0].get<std::string>();
}

// Architecture `junto` names the one that it starts from: a Hugging Face class whose configuration the file carries, or
// one of GGUF's whose keys it has (and something more, such as junto.router, that only Junto reads).
ModelSource describe_gguf(const Checkpoint& checkpoint) {
  ModelSource source;
  std::string name = checkpoint.metadata.required_string("general.architecture");
  std::string_view field = "general.architecture";
  const bool own = name == "junto";
  if (own) name = checkpoint.metadata.required_string("junto.base_architecture"), field = "junto.base_architecture";
  if (own && checkpoint.metadata.contains("junto.config")) {
    const Json config =
        parse_json(checkpoint.metadata.required_string("junto.config"), checkpoint.path + ": junto.config");
    source.architecture = &find_architecture(checkpoint.path, field, name, &Architecture::hf);
    source.config = source.architecture->declare(ConfigReader(checkpoint, config));
  } else {
    source.architecture = &find_architecture(checkpoint.path, field, name, &Architecture::gguf);
    source.config = source.architecture->declare(ConfigReader(checkpoint, name));
  }
  source.tensors = gguf_tensors(checkpoint, own ? std::span<const TensorRule>() : source.architecture->gguf_tensors,
                                tensor_sizes(source.config));
  apply_stored_routing(checkpoint, source.config);
  apply_stored_paths(checkpoint, source.config);
  return source;
}

ModelSource describe_hf(const Checkpoint& checkpoint) {
  ModelSource source;
  const std::string name = hf_architecture(checkpoint, checkpoint.config);
  source.architecture = &find_architecture(checkpoint.path + "/config.json", "architectures", name, &Architecture::hf);
  const ConfigReader reader(checkpoint, std::string());
  source.config = source.architecture->declare(reader);
  source.tensors = canonical_tensors(checkpoint, source.architecture->tensors, tensor_sizes(source.config));
  return source;
}

}  // namespace

TensorSizes tensor_sizes(const ModelConfig& config) {
  TensorSizes sizes;
  sizes.blocks = static_cast<std::int64_t>(config.blocks.size());
  for (const BlockSpec& block : config.blocks) {
    sizes.layers = std::max<std::int64_t>(sizes.layers, block.layer + 1);
    if (block.routed) sizes.experts = block.moe.router.experts;
    if (const auto* a = std::get_if<AttentionSpec>(&block.mixer)) {
      sizes.q_rows = std::int64_t{a->heads} * a->head_dim;
      sizes.kv_rows = std::int64_t{a->kv_heads} * a->head_dim;
    }
  }
  return sizes;
}

std::span<const Architecture> architectures() {
  return kArchitectures;
}

ModelSource describe_model(const Checkpoint& checkpoint) {
  ModelSource source = checkpoint.kind == Checkpoint::Kind::kGguf ? describe_gguf(checkpoint) : describe_hf(checkpoint);
  source.config.architecture = source.architecture->gguf.empty() ? source.architecture->hf : source.architecture->gguf;
  return source;
}

}  // namespace junto
