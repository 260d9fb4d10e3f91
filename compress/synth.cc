#include "compress/synth.h"

#include <chrono>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/thread_pool.h"
#include "compress/llama_cpp_architectures.h"
#include "compress/llama_cpp_keys.h"
#include "compress/random_rows.h"
#include "compress/synth_tokenizer.h"
#include "compress/tensor_plan.h"
#include "format/gguf.h"
#include "model/architectures.h"
#include "model/stored_routing.h"

namespace junto {
namespace {

constexpr const char* kChatTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// Shapes of all tensors under canonical names; no bytes.
class Shapes {
 public:
  explicit Shapes(const ModelConfig& config, const Json& json) : config_(config), json_(json) {
    add("token_embd.weight", {config.vocab_size, config.hidden_size});
    add("output_norm.weight", {config.hidden_size});
    if (!config.tied_embeddings) add("output.weight", {config.vocab_size, config.hidden_size});
    for (block_ = 0; block_ < config.blocks.size(); ++block_) add_block(config.blocks[block_]);
  }

  TensorTable table;

 private:
  void add(const std::string& name, Shape shape) {
    Tensor tensor;
    tensor.shape = std::move(shape);
    table.emplace(name, std::move(tensor));
  }
  void in_block(const std::string& role, Shape shape) {
    add("blk." + std::to_string(block_) + "." + role + ".weight", std::move(shape));
  }

  std::int64_t option(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      if (json_.contains(name) && json_[name].is_number_integer()) return json_[name].get<std::int64_t>();
    }
    return 0;
  }

  void add_block(const BlockSpec& block) {
    const std::int64_t hidden = config_.hidden_size;
    in_block("attn_norm", {hidden});
    in_block("ffn_norm", {hidden});
    if (const auto* a = std::get_if<AttentionSpec>(&block.mixer)) add_attention(*a);
    if (const auto* m = std::get_if<MlaSpec>(&block.mixer)) add_mla(*m);
    if (block.dense) add_ffn("", {}, option({"intermediate_size"}));
    if (!block.routed) return;
    const std::int64_t width = option({"moe_intermediate_size", "intermediate_size"});
    in_block("ffn_gate_inp", {block.moe.router.experts, hidden});
    add_ffn("_exps", {block.moe.router.experts}, width);
    if (block.moe.shared_expert) add_ffn("_shexp", {}, width * option({"n_shared_experts"}));
  }

  void add_ffn(const std::string& kind, const Shape& stack, std::int64_t width) {
    const auto shape = [&](std::int64_t rows, std::int64_t cols) {
      Shape out = stack;
      out.push_back(rows);
      out.push_back(cols);
      return out;
    };
    in_block("ffn_gate" + kind, shape(width, config_.hidden_size));
    in_block("ffn_up" + kind, shape(width, config_.hidden_size));
    in_block("ffn_down" + kind, shape(config_.hidden_size, width));
  }

  void add_attention(const AttentionSpec& a) {
    const std::int64_t q = std::int64_t{a.heads} * a.head_dim, kv = std::int64_t{a.kv_heads} * a.head_dim;
    in_block("attn_q", {q, config_.hidden_size});
    in_block("attn_k", {kv, config_.hidden_size});
    in_block("attn_v", {kv, config_.hidden_size});
    in_block("attn_output", {config_.hidden_size, q});
    if (a.qk_norm == QkNorm::kNone) return;
    const bool full = a.qk_norm == QkNorm::kFullWidth;
    in_block("attn_q_norm", {full ? q : a.head_dim});
    in_block("attn_k_norm", {full ? kv : a.head_dim});
  }

  void add_mla(const MlaSpec& a) {
    const std::int64_t q = std::int64_t{a.heads} * (a.nope_dim + a.rope_dim);
    in_block("attn_q", {q, config_.hidden_size});
    in_block("attn_kv_a_mqa", {a.kv_rank + a.rope_dim, config_.hidden_size});
    in_block("attn_kv_a_norm", {a.kv_rank});
    in_block("attn_k_b", {a.heads, a.kv_rank, a.nope_dim});
    in_block("attn_v_b", {a.heads, a.value_dim, a.kv_rank});
    in_block("attn_output", {config_.hidden_size, std::int64_t{a.heads} * a.value_dim});
  }

  const ModelConfig& config_;
  const Json& json_;
  std::size_t block_ = 0;
};

// Mean and spread that keep a normed input of spread 1 near 1.
std::pair<float, float> distribution(std::string_view name, const Shape& shape) {
  if (name.ends_with("_norm.weight")) return {1.0f, 0.05f};
  if (name == "token_embd.weight") return {0.0f, 1.0f};
  const float unit = 1.0f / std::sqrt(static_cast<float>(shape.back()));
  if (name == "output.weight") return {0.0f, 3.0f * unit};                // logits that differ
  if (name.ends_with("ffn_gate_inp.weight")) return {0.0f, 2.0f * unit};  // experts that differ
  return {0.0f, unit};
}

struct Synthesis {
  Metadata metadata;
  std::vector<PlannedTensor> tensors;
  SynthReport report;
};

Metadata metadata_of(const SynthOptions& options, const std::string& architecture, const LlamaCppKeys& keys) {
  Metadata metadata;
  metadata.set("general.architecture", architecture);
  metadata.set("general.type", std::string("model"));
  metadata.set("general.name", "random weights in the shape of " + options.preset);
  metadata.set("general.file_type", gguf_file_type(options.type));
  metadata.set("general.quantization_version", std::uint32_t{2});
  for (const auto& [key, value] : keys.metadata.entries()) metadata.set(key, value);
  return metadata;
}

Synthesis plan(const SynthOptions& options) {
  Checkpoint shape;
  shape.kind = Checkpoint::Kind::kHuggingFace;
  shape.path = options.preset;
  shape.config = preset_config(options.preset, options.shape);
  ModelSource source = describe_model(shape);
  const Shapes shapes(source.config, shape.config);
  const std::string name(llama_cpp_name(source.architecture->hf));
  const LlamaCppKeys keys = llama_cpp_keys(name, source.config, shapes.table, shape.config);
  if (!keys.refusal.empty()) fail(options.preset, "llama.cpp's " + name + " does not load " + keys.refusal);

  Synthesis out;
  out.metadata = metadata_of(options, name, keys);
  if (options.router_back > 0) {
    const ModelConfig plain = source.config;
    for (BlockSpec& block : source.config.blocks) block.moe.router_back = block.routed ? options.router_back : 0;
    out.metadata.set("general.architecture", std::string("junto"));
    out.metadata.set("junto.base_architecture", name);
    out.metadata.set("junto.router", stored_routing(source.config, plain).value().dump());
  }
  store_tokenizer(synthetic_tokenizer(source.config.vocab_size), out.metadata);
  out.metadata.set("tokenizer.chat_template", std::string(kChatTemplate));
  const TypeRequest request{options.type, options.keep};
  for (const auto& [tensor_name, tensor] : shapes.table) {
    const TypeChoice choice = choose_type(
        {.name = tensor_name, .stack = {}, .dimensions = tensor.shape.size(), .cols = tensor.cols()}, request);
    out.tensors.push_back({tensor_name, tensor.shape, choice.type, choice.type, choice.asked, {}});
    out.report.bytes += checked_bytes(options.out, tensor_name, choice.type, tensor.shape);
    out.report.weights += tensor.values();
  }
  sort_plan(out.tensors);
  out.report.tensors = out.tensors.size();
  out.report.notes = describe_fallbacks(out.tensors);
  return out;
}

}  // namespace

SynthReport plan_synthesis(const SynthOptions& options) {
  return plan(options).report;
}

SynthReport synthesize(const SynthOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Synthesis synthesis = plan(options);
  ThreadPool pool(options.threads);
  std::vector<TensorToWrite> tensors;
  for (const PlannedTensor& tensor : synthesis.tensors) {
    const auto [mean, spread] = distribution(tensor.name, tensor.shape);
    tensors.push_back(random_rows(tensor.name, tensor.shape, tensor.type, mean, spread, options.seed, pool));
  }
  write_gguf(options.out, synthesis.metadata, tensors, options.progress);
  synthesis.report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return synthesis.report;
}

}  // namespace junto
