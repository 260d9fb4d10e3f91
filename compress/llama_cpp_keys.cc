#include "compress/llama_cpp_keys.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "compress/llama_cpp_architectures.h"
#include "compress/tensor_plan.h"

namespace junto {
namespace {

constexpr double kYarnLogUnit = 0.1;  // llama.cpp stores a tenth of mscale_all_dim
constexpr float kDefaultTheta = 10000.0f;

// Options of rotation as config.json has them: in rope_parameters (of one kind of layer, where there are several), or
// in rope_scaling with rope_theta beside it.
class RopeOptions {
 public:
  explicit RopeOptions(const Json& config) : config_(config) {
    scaling_ = object(config, "rope_parameters");
    const Json full = object(scaling_, "full_attention");
    if (!full.empty()) scaling_ = full;
    if (scaling_.empty()) scaling_ = object(config, "rope_scaling");
  }

  double number(const char* name, double fallback) const {
    const auto found = scaling_.find(name);
    return found != scaling_.end() && found->is_number() ? found->get<double>() : fallback;
  }
  std::string type() const {
    for (const char* name : {"rope_type", "type"}) {
      const auto found = scaling_.find(name);
      if (found != scaling_.end() && found->is_string()) return found->get<std::string>();
    }
    return "default";
  }
  double theta() const {
    const auto found = config_.find("rope_theta");
    return number("rope_theta", found != config_.end() && found->is_number() ? found->get<double>() : kDefaultTheta);
  }

 private:
  static Json object(const Json& parent, const char* name) {
    const auto found = parent.find(name);
    return found != parent.end() && found->is_object() ? *found : Json::object();
  }

  const Json& config_;
  Json scaling_;
};

// The base of frequencies base^(-2 i / dims); nothing where they are no such series.
std::optional<double> base_of(const Rope& rope) {
  const auto count = static_cast<std::int64_t>(rope.inverse_frequency.size());
  if (count < 2) return std::nullopt;
  const auto frequency = [&](std::int64_t i) { return static_cast<double>(rope.inverse_frequency[i]); };
  const double base = std::pow(frequency(count - 1), -static_cast<double>(count) / static_cast<double>(count - 1));
  for (std::int64_t i = 0; i < count; ++i) {
    const double expected = std::pow(base, -static_cast<double>(i) / static_cast<double>(count));
    if (std::abs(frequency(i) - expected) > 1e-5 * expected) return std::nullopt;
  }
  return base;
}

class Writer {
 public:
  Writer(const LlamaCppArchitecture& architecture, const ModelConfig& config, const TensorTable& tensors,
         const Json& hf_config, LlamaCppKeys& out)
      : architecture_(architecture), config_(config), tensors_(tensors), json_(hf_config), out_(out) {}

  void write();

 private:
  bool has(LlamaCppKey key) const { return (architecture_.keys & key) != 0; }
  bool expects(LlamaCppShape shape) const { return (architecture_.shapes & shape) != 0; }
  void set(std::string_view key, MetadataValue value) {
    out_.metadata.set(std::string(architecture_.name) + "." + std::string(key), std::move(value));
  }
  void count(std::string_view key, std::int64_t value) { set(key, static_cast<std::uint32_t>(value)); }
  void number(std::string_view key, double value) { set(key, static_cast<float>(value)); }
  /// One value where all are the same, else one for each block.
  void per_block(std::string_view key, const std::vector<std::int64_t>& values);
  void refuse(const std::string& why) {
    if (out_.refusal.empty()) out_.refusal = why;
  }

  std::int64_t width_of(std::size_t block, std::string_view role) const;
  void sizes();
  void attention();
  void windows();
  void feed_forward();
  void experts();
  void multipliers();
  void rotation();
  void rope_freqs(double base);
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
  set(key, std::vector<std::int32_t>(values.begin(), values.end()));
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
  std::int64_t last_heads = 0;
  for (const BlockSpec& block : config_.blocks) {
    if (const auto* a = std::get_if<AttentionSpec>(&block.mixer)) last_heads = a->heads;
  }
  for (const BlockSpec& block : config_.blocks) {
    if (const auto* a = std::get_if<AttentionSpec>(&block.mixer)) {
      heads.push_back(a->heads);
      kv_heads.push_back(a->kv_heads);
      count("attention.key_length", a->head_dim);
      count("attention.value_length", a->head_dim);
      if (has(kClamp)) number("attention.clamp_kqv", a->clip_qkv);
      if (expects(kSquareQ) && std::int64_t{a->heads} * a->head_dim != config_.hidden_size) {
        refuse("it takes heads of other sizes only");
      }
      if (expects(kEqualHeads) && a->heads != a->kv_heads) refuse("it has no grouped KV heads");
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
      const std::size_t depth = config_.blocks.size();
      if (m->q_rank > 0 && (depth == 26 || depth == 27)) refuse("it expects no compressed q at this depth");
    } else if (const auto* c = std::get_if<ShortConvSpec>(&block.mixer); c && has(kShortConv)) {
      heads.push_back(last_heads);
      kv_heads.push_back(0);  // which tells llama.cpp that the block is a convolution
      count("shortconv.l_cache", c->taps);
    } else {
      return refuse("it has no such attention");
    }
  }
  per_block("attention.head_count", heads);
  per_block("attention.head_count_kv", kv_heads);
}

void Writer::windows() {
  std::vector<bool> sliding;
  for (const BlockSpec& block : config_.blocks) {
    const auto* a = std::get_if<AttentionSpec>(&block.mixer);
    sliding.push_back(a && a->window > 0);
    if (a && a->window > 0 && has(kWindow)) count("attention.sliding_window", a->window);
  }
  const bool any = std::find(sliding.begin(), sliding.end(), true) != sliding.end();
  if (any && has(kWindowPattern)) set("attention.sliding_window_pattern", std::move(sliding));
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
  if (uneven && expert != 0) refuse("it has one width for all dense feed-forwards");
  per_block("feed_forward_length", dense.empty() ? std::vector<std::int64_t>{expert} : dense);
  if (expert == 0) return;
  if (has(kExpertFfn)) count("expert_feed_forward_length", expert);
  if (has(kSharedFfn)) count("expert_shared_feed_forward_length", shared);
  if (has(kSharedCount)) count("expert_shared_count", shared / expert);
  if (has(kSharedCount) && shared % expert != 0) refuse("its shared expert is a number of experts wide");
}

void Writer::experts() {
  const auto is_routed = [](const BlockSpec& block) { return block.routed; };
  const auto routed = std::find_if(config_.blocks.begin(), config_.blocks.end(), is_routed);
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
  if (expects(kDenseLeadsOnly) && !std::all_of(routed, config_.blocks.end(), is_routed)) {
    refuse("it has no dense block after a routed one");
  }
  if (has(kMoeStep)) {
    // Routed are the blocks whose number, counted from 1, is a multiple of the step.
    const auto next = std::find_if(routed + 1, config_.blocks.end(), is_routed);
    count("interleave_moe_layer_step", next == config_.blocks.end() ? lead + 1 : next - routed);
  }
  if (has(kScale)) number("expert_weights_scale", router.scale);
  if (has(kNorm)) set("expert_weights_norm", router.weigh == Weigh::kRenormalised);
  if (has(kGating)) count("expert_gating_func", router.score == Score::kSigmoid ? 2 : 1);
}

void Writer::multipliers() {
  if (has(kSoftcap) && config_.logit_softcap != 0.0f) number("final_logit_softcapping", config_.logit_softcap);
  if (!has(kMultipliers)) return;
  number("logit_scale", 1.0 / config_.logit_multiplier);  // llama.cpp divides by it
  number("residual_scale", config_.residual_multiplier);
  number("embedding_scale", config_.embedding_multiplier);
  for (const BlockSpec& block : config_.blocks) {
    if (const auto* a = std::get_if<AttentionSpec>(&block.mixer)) number("attention.scale", a->scale);
  }
}

void Writer::rotation() {
  if (config_.ropes.empty()) return;
  const RopeOptions options(json_);
  const Rope& rope = config_.ropes.front();
  count("rope.dimension_count", rope.dims);
  const std::string type = options.type();
  double theta = options.theta();
  if (type == "default" || type == "dynamic") {
    // Where the option is missing or scaled, the frequencies say what the base is.
    const double base = base_of(rope).value_or(theta);
    if (std::abs(base - theta) > 1e-5 * theta) theta = base;
  }
  number("rope.freq_base", theta);
  if (has(kWindowRope) && config_.ropes.size() > 1) {
    number("rope.freq_base_swa", std::round(base_of(config_.ropes[1]).value_or(kDefaultTheta)));
  }
  if (type == "linear" || type == "yarn") {
    set("rope.scaling.type", type);
    number("rope.scaling.factor", options.number("factor", 1.0));
  }
  if (type == "yarn") {
    const double original =
        options.number("original_max_position_embeddings", static_cast<double>(config_.context_length));
    count("rope.scaling.original_context_length", static_cast<std::int64_t>(original));
    const double mscale = options.number("mscale_all_dim", 0.0);
    if (has(kYarnLog) && mscale != 0.0) number("rope.scaling.yarn_log_multiplier", kYarnLogUnit * mscale);
    if (has(kYarnLog) && mscale == 0.0) refuse("it scales all of q by YaRN's magnitude, not its rotated part alone");
  }
  if (type == "llama3" && has(kRopeFreqs)) rope_freqs(theta);
}

// What the plain frequencies are divided by.
void Writer::rope_freqs(double base) {
  const Rope& rope = config_.ropes.front();
  std::vector<float> divisors;
  for (std::size_t i = 0; i < rope.inverse_frequency.size(); ++i) {
    const double plain = std::pow(base, -2.0 * static_cast<double>(i) / rope.dims);
    divisors.push_back(static_cast<float>(plain / rope.inverse_frequency[i]));
  }
  const auto size = static_cast<std::int64_t>(divisors.size());
  out_.extra.push_back({"rope_freqs.weight", make_tensor({size}, std::move(divisors))});
}

void Writer::check_tensors() {
  // Roles by block; those of one expert as those of its stack.
  std::set<std::string, std::less<>> names;
  for (const auto& [name, tensor] : tensors_) {
    const auto expert = parse_expert_tensor(name);
    names.insert(expert ? expert->stack : name);
  }
  for (const std::string_view role : architecture_.required) {
    const bool global = role.starts_with("output"), attention = role.starts_with("attn");
    if (global && !names.contains(role)) refuse("it needs the tensor " + std::string(role));
    for (std::size_t b = 0; b < config_.blocks.size() && !global; ++b) {
      const BlockSpec& block = config_.blocks[b];
      const bool applies = attention ? std::holds_alternative<AttentionSpec>(block.mixer) : block.routed;
      const std::string name = "blk." + std::to_string(b) + "." + std::string(role);
      if (applies && !names.contains(name)) refuse("it needs the tensor " + name);
    }
  }
  for (const std::string& name : names) {
    if (!name.ends_with(".bias")) continue;
    const auto is_role = [&](std::string_view role) { return name == role || name.ends_with("." + std::string(role)); };
    const bool qkv = is_role("attn_q.bias") || is_role("attn_k.bias") || is_role("attn_v.bias");
    if (qkv && !has(kMla)) continue;
    const auto& biases = architecture_.biases;
    if (std::none_of(biases.begin(), biases.end(), is_role)) refuse("it has no tensor " + name);
  }
}

void Writer::write() {
  if (!architecture_.never.empty()) refuse(std::string(architecture_.never));
  sizes();
  attention();
  windows();
  feed_forward();
  experts();
  multipliers();
  rotation();
  check_tensors();
}

}  // namespace

LlamaCppKeys llama_cpp_keys(std::string_view architecture, const ModelConfig& config, const TensorTable& tensors,
                            const Json& hf_config) {
  LlamaCppKeys out;
  Writer(llama_cpp_architecture(architecture), config, tensors, hf_config, out).write();
  return out;
}

}  // namespace junto
