#include "compress/llama_cpp_keys.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace junto {
namespace {

// Keys beyond those of every architecture.
enum Keys : unsigned {
  kExpertFfn = 1u << 0,     // expert_feed_forward_length
  kSharedFfn = 1u << 1,     // expert_shared_feed_forward_length
  kSharedCount = 1u << 2,   // expert_shared_count
  kLeadingDense = 1u << 3,  // leading_dense_block_count
  kMoeStep = 1u << 4,       // interleave_moe_layer_step
  kScale = 1u << 5,         // expert_weights_scale
  kNorm = 1u << 6,          // expert_weights_norm
  kGating = 1u << 7,        // expert_gating_func
  kMla = 1u << 8,           // attention.q_lora_rank, kv_lora_rank, key_length_mla, value_length_mla
  kYarnLog = 1u << 9,       // rope.scaling.yarn_log_multiplier
  kRopeFreqs = 1u << 10,    // tensor rope_freqs.weight
  kMultipliers = 1u << 11,  // logit_scale, residual_scale, embedding_scale, attention.scale
};

// What keeps llama.cpp from loading a file.
enum Demands : unsigned {
  kNothing = 0,
  kOutput = 1u << 0,        // output.weight, also where embeddings are tied
  kSharedExpert = 1u << 1,  // a shared expert in every routed block
};

struct LlamaCppArchitecture {
  std::string_view name;
  unsigned keys;
  unsigned demands;
  std::vector<std::string_view> biases;  // roles of biases that it loads, apart from those of q, k and v
};

const LlamaCppArchitecture kArchitectures[] = {
    {"llama", kRopeFreqs, kNothing, {"attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"}},
    {"qwen3", 0, kNothing, {}},
    {"olmoe", 0, kOutput, {}},
    {"qwen3moe", kExpertFfn, kNothing, {}},
    {"deepseek2",
     kExpertFfn | kSharedCount | kLeadingDense | kScale | kNorm | kGating | kMla | kYarnLog,
     kSharedExpert,
     {"exp_probs_b.bias"}},
};

// Classes that llama.cpp knows under the name of another.
constexpr std::pair<std::string_view, std::string_view> kNames[] = {
    {"LlamaForCausalLM", "llama"},          {"MistralForCausalLM", "llama"},        {"MixtralForCausalLM", "llama"},
    {"Qwen3ForCausalLM", "qwen3"},          {"Qwen3MoeForCausalLM", "qwen3moe"},    {"OlmoeForCausalLM", "olmoe"},
    {"DeepseekV2ForCausalLM", "deepseek2"}, {"DeepseekV3ForCausalLM", "deepseek2"},
};

constexpr double kYarnLogUnit = 0.1;  // llama.cpp stores a tenth of mscale_all_dim

const LlamaCppArchitecture& find(std::string_view name) {
  for (const LlamaCppArchitecture& row : kArchitectures) {
    if (row.name == name) return row;
  }
  fail("general.architecture", "no keys are known for " + printable(name));
}

class Writer {
 public:
  Writer(const LlamaCppArchitecture& architecture, const ModelConfig& config, const TensorTable& tensors,
         const Json& hf_config, LlamaCppKeys& out)
      : architecture_(architecture), config_(config), tensors_(tensors), json_(hf_config), out_(out) {}

  void write();

 private:
  bool has(Keys keys) const { return (architecture_.keys & keys) != 0; }
  void set(std::string_view key, MetadataValue value) {
    out_.metadata.set(std::string(architecture_.name) + "." + std::string(key), std::move(value));
  }
  void count(std::string_view key, std::int64_t value) { set(key, static_cast<std::uint32_t>(value)); }
  void number(std::string_view key, double value) { set(key, static_cast<float>(value)); }
  /// One value where all are the same, else one for each block.
  void per_block(std::string_view key, const std::vector<std::int64_t>& values);
  void refuse(std::string why) {
    if (out_.refusal.empty()) out_.refusal = std::move(why);
  }

  std::int64_t width_of(std::size_t block, std::string_view role) const;
  void sizes();
  void attention();
  void feed_forward();
  void experts();
  void rotation();
  void check_tensors();

  const LlamaCppArchitecture& architecture_;
  const ModelConfig& config_;
  const TensorTable& tensors_;
  const Json& json_;
  LlamaCppKeys& out_;
};

void Writer::per_block(std::string_view key, const std::vector<std::int64_t>& values) {
  if (std::all_of(values.begin(), values.end(), [&](std::int64_t value) { return value == values.front(); })) {
    return count(key, values.front());
  }
  std::vector<std::int32_t> list(values.begin(), values.end());
  set(key, std::move(list));
}

// Rows of blk.<block>.<role>.weight; of one expert where it is a stack. 0 where there is no such tensor.
std::int64_t Writer::width_of(std::size_t block, std::string_view role) const {
  const std::string base = "blk." + std::to_string(block) + "." + std::string(role);
  for (const char* tail : {".weight", ".0.weight", "_exps.weight"}) {
    const auto found = tensors_.find(base + tail);
    if (found != tensors_.end() && found->second.shape.size() >= 2) return found->second.shape.end()[-2];
  }
  return 0;
}

void Writer::sizes() {
  count("block_count", static_cast<std::int64_t>(config_.blocks.size()));
  count("context_length", std::min<std::int64_t>(config_.context_length, INT32_MAX));
  count("embedding_length", config_.hidden_size);
  count("vocab_size", config_.vocab_size);
  number(config_.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
         config_.norm_eps);
}

void Writer::attention() {
  std::vector<std::int64_t> heads, kv_heads;
  for (const BlockSpec& block : config_.blocks) {
    if (const auto* a = std::get_if<AttentionSpec>(&block.mixer)) {
      heads.push_back(a->heads);
      kv_heads.push_back(a->kv_heads);
      count("attention.key_length", a->head_dim);
      count("attention.value_length", a->head_dim);
    } else if (const auto* m = std::get_if<MlaSpec>(&block.mixer); m && has(kMla)) {
      // On the compressed cache all heads share one key, whose first values are the value.
      heads.push_back(m->heads);
      kv_heads.push_back(1);
      count("attention.key_length", m->kv_rank + m->rope_dim);
      count("attention.value_length", m->kv_rank);
      count("attention.key_length_mla", m->nope_dim + m->rope_dim);
      count("attention.value_length_mla", m->value_dim);
      count("attention.kv_lora_rank", m->kv_rank);
      count("attention.q_lora_rank", m->q_rank);
      // llama.cpp takes models of these depths for those that project q directly.
      if (m->q_rank > 0 && (config_.blocks.size() == 26 || config_.blocks.size() == 27)) {
        return refuse("a compressed q at this number of layers");
      }
    } else {
      return refuse("its attention");
    }
  }
  per_block("attention.head_count", heads);
  per_block("attention.head_count_kv", kv_heads);
}

void Writer::feed_forward() {
  std::vector<std::int64_t> dense;
  std::int64_t expert = 0, shared = 0;
  for (std::size_t b = 0; b < config_.blocks.size(); ++b) {
    if (config_.blocks[b].dense) dense.push_back(width_of(b, "ffn_up"));
    if (!config_.blocks[b].routed) continue;
    expert = width_of(b, "ffn_up");
    shared = width_of(b, "ffn_up_shexp");
  }
  const bool uneven = std::any_of(dense.begin(), dense.end(), [&](std::int64_t width) { return width != dense[0]; });
  if (uneven && dense.size() != config_.blocks.size()) refuse("dense feed-forwards of different widths");
  per_block("feed_forward_length", dense.empty() ? std::vector<std::int64_t>{expert} : dense);
  if (expert == 0) return;
  if (has(kExpertFfn)) count("expert_feed_forward_length", expert);
  if (has(kSharedFfn)) count("expert_shared_feed_forward_length", shared);
  if (has(kSharedCount)) count("expert_shared_count", shared / expert);
  if (has(kSharedCount) && shared % expert != 0) refuse("a shared expert that is not some experts wide");
}

void Writer::experts() {
  const auto routed =
      std::find_if(config_.blocks.begin(), config_.blocks.end(), [](const BlockSpec& b) { return b.routed; });
  if (routed == config_.blocks.end()) return;
  const RouterSpec& router = routed->moe.router;
  const std::int64_t lead = routed - config_.blocks.begin();
  count("expert_count", router.experts);
  count("expert_used_count", max_experts_per_unit(router));
  if (const auto* groups = std::get_if<GroupLimited>(&router.select)) {
    count("expert_group_count", groups->groups);
    count("expert_group_used_count", groups->top_groups);
  }
  if (has(kLeadingDense)) count("leading_dense_block_count", lead);
  if (has(kMoeStep)) {
    // Routed are the blocks from `lead` on whose number, counted from 1, is a multiple of the step.
    const auto next = std::find_if(routed + 1, config_.blocks.end(), [](const BlockSpec& b) { return b.routed; });
    count("interleave_moe_layer_step", next == config_.blocks.end() ? lead + 1 : next - routed);
  }
  if (has(kScale)) number("expert_weights_scale", router.scale);
  if (has(kNorm)) set("expert_weights_norm", router.weigh == Weigh::kRenormalised);
  if (has(kGating)) count("expert_gating_func", router.score == Score::kSigmoid ? 2 : 1);
}

// Rope parameters stand in rope_parameters, or in rope_scaling with rope_theta beside it.
void Writer::rotation() {
  if (config_.ropes.empty()) return;
  const Rope& rope = config_.ropes.front();
  count("rope.dimension_count", rope.dims);
  const Json none = Json::object();
  const auto object = [&](const char* name) -> const Json& {
    const auto found = json_.find(name);
    return found != json_.end() && found->is_object() ? *found : none;
  };
  const Json& current = object("rope_parameters");
  const Json& scaling = current.empty() ? object("rope_scaling") : current;
  const auto option = [&](const char* name, double fallback) {
    const auto found = scaling.find(name);
    return found != scaling.end() && found->is_number() ? found->get<double>() : fallback;
  };
  const auto text = [&](const char* name, const std::string& fallback) {
    const auto found = scaling.find(name);
    return found != scaling.end() && found->is_string() ? found->get<std::string>() : fallback;
  };
  const auto theta = json_.find("rope_theta");
  number("rope.freq_base",
         option("rope_theta", theta != json_.end() && theta->is_number() ? theta->get<double>() : 10000.0));

  const std::string type = text("rope_type", text("type", "default"));
  if (type == "linear" || type == "yarn") {
    set("rope.scaling.type", type);
    number("rope.scaling.factor", option("factor", 1.0));
  }
  if (type == "yarn") {
    const double original = option("original_max_position_embeddings", static_cast<double>(config_.context_length));
    count("rope.scaling.original_context_length", static_cast<std::int64_t>(original));
    if (has(kYarnLog) && option("mscale_all_dim", 0.0) != 0.0) {
      number("rope.scaling.yarn_log_multiplier", kYarnLogUnit * option("mscale_all_dim", 0.0));
    } else if (has(kYarnLog)) {
      // Without it llama.cpp scales all of the query by YaRN's magnitude, not its rotated part alone.
      refuse("YaRN without mscale_all_dim");
    }
  }
  if (type == "llama3" && has(kRopeFreqs)) {
    // What the plain frequencies are divided by.
    std::vector<float> divisors;
    const auto base = out_.metadata.number(std::string(architecture_.name) + ".rope.freq_base").value_or(10000.0);
    for (std::size_t i = 0; i < rope.inverse_frequency.size(); ++i) {
      const double plain = std::pow(base, -2.0 * static_cast<double>(i) / rope.dims);
      divisors.push_back(static_cast<float>(plain / rope.inverse_frequency[i]));
    }
    const auto size = static_cast<std::int64_t>(divisors.size());
    out_.extra.push_back({"rope_freqs.weight", make_tensor({size}, std::move(divisors))});
  }
}

void Writer::check_tensors() {
  if ((architecture_.demands & kOutput) && !tensors_.contains("output.weight")) refuse("tied embeddings");
  if (architecture_.demands & kSharedExpert) {
    for (const BlockSpec& block : config_.blocks) {
      if (block.routed && !block.moe.shared_expert) refuse("experts without a shared one");
    }
  }
  for (const auto& entry : tensors_) {
    const std::string& name = entry.first;  // not a binding: clang 14 cannot capture one
    if (!name.ends_with(".bias")) continue;
    const auto is_role = [&](std::string_view role) { return name.ends_with("." + std::string(role)); };
    const bool qkv = is_role("attn_q.bias") || is_role("attn_k.bias") || is_role("attn_v.bias");
    if (qkv && !has(kMla)) continue;
    if (std::none_of(architecture_.biases.begin(), architecture_.biases.end(), is_role)) refuse("the tensor " + name);
  }
}

void Writer::write() {
  sizes();
  attention();
  feed_forward();
  experts();
  rotation();
  check_tensors();
}

}  // namespace

std::string_view llama_cpp_name(std::string_view hf_class) {
  for (const auto& [hf, name] : kNames) {
    if (hf == hf_class) return name;
  }
  return {};
}

LlamaCppKeys llama_cpp_keys(std::string_view architecture, const ModelConfig& config, const TensorTable& tensors,
                            const Json& hf_config) {
  LlamaCppKeys out;
  Writer(find(architecture), config, tensors, hf_config, out).write();
  return out;
}

}  // namespace junto
