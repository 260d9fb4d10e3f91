#include "train/loop/import.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <variant>
#include <vector>

#include "base/error.h"
#include "format/checkpoint.h"
#include "model/architectures.h"

namespace junto {
namespace {

/// What is compared is exact but for the base of the rotation, which the frequencies hold rounded.
constexpr float kSameFrequency = 1e-4f;

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), source_(describe_model(open_checkpoint(path))) {}

  LanguageModelShape shape() const {
    const ModelConfig& config = source_.config;
    require(config.norm == NormKind::kRms && !config.norm_plus_one, "RMSNorm");
    require(config.embedding_multiplier == 1.0f && config.residual_multiplier == 1.0f &&
                config.logit_multiplier == 1.0f && config.logit_softcap == 0.0f,
            "plain embeddings, residuals and logits");
    require(config.output_norm_eps == config.norm_eps, "one epsilon of all norms");
    LanguageModelShape shape;
    shape.vocabulary = config.vocab_size;
    shape.hidden = config.hidden_size;
    shape.layers = std::ssize(config.blocks);
    shape.context = config.context_length;
    shape.norm_eps = config.norm_eps;
    shape.tied_embeddings = config.tied_embeddings;
    add_attention(shape);
    add_networks(shape);
    return shape;
  }

  void fill(LanguageModel& model) const {
    at::NoGradGuard guard;
    const LanguageModelShape& s = model.shape();
    const bool interleaved = rope().style == RopeStyle::kInterleaved;
    copy_embedding("token_embd.weight", model.embedding());
    for (std::int64_t layer = 0; layer < s.layers; ++layer) {
      const LanguageModel::Block& b = model.blocks()[layer];
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      copy(prefix + "attn_norm.weight", b.attn_norm);
      copy_rotated(prefix + "attn_q.weight", b.q, s.heads, interleaved);
      copy_rotated(prefix + "attn_k.weight", b.k, s.kv_heads, interleaved);
      copy(prefix + "attn_v.weight", b.v);
      copy(prefix + "attn_output.weight", b.output);
      copy(prefix + "attn_q_norm.weight", b.q_norm);
      copy(prefix + "attn_k_norm.weight", b.k_norm);
      copy(prefix + "ffn_norm.weight", b.ffn_norm);
      const std::string kind = s.routed(layer) ? "_shexp.weight" : ".weight";
      if (b.gate_up.defined()) copy_network(prefix, kind, b.gate_up, b.down);
      if (b.routers.empty()) continue;
      copy(prefix + "ffn_gate_inp.weight", b.routers[0].logits);
      copy(prefix + "exp_probs_b.bias", b.routers[0].selection_bias);
      copy_experts(prefix, b);
    }
    copy("output_norm.weight", model.output_norm());
    if (!s.tied_embeddings) copy_embedding("output.weight", model.head());
  }

 private:
  void require(bool holds, const std::string& what) const {
    if (!holds) fail(path_, "cannot be trained: expected " + what);
  }

  const Rope& rope() const {
    const auto& attention = std::get<AttentionSpec>(source_.config.blocks.front().mixer);
    return source_.config.ropes.at(static_cast<std::size_t>(attention.rope));
  }

  void add_attention(LanguageModelShape& shape) const {
    const ModelConfig& config = source_.config;
    require(!config.blocks.empty(), "layers");
    for (const BlockSpec& block : config.blocks) {
      const auto* attention = std::get_if<AttentionSpec>(&block.mixer);
      require(attention != nullptr && attention->rope >= 0, "attention with rotary positions in every layer");
      require(block.mixer == config.blocks.front().mixer, "the same attention in every layer");
      require(block.mixer_norm == NormPlacement() && block.ffn_norm == NormPlacement(), "norms before sublayers only");
      const AttentionSpec& a = *attention;
      require(a.window == 0 && a.chunk == 0 && a.clip_qkv == 0.0f && a.softcap == 0.0f && !a.sinks && !a.output_gate &&
                  a.temperature_floor == 0.0f && !a.norm_after_rope,
              "plain attention over the whole context");
      require(a.qk_norm == QkNorm::kNone || a.qk_norm == QkNorm::kPerHead, "norms of q and k per head, or none");
      require(std::abs(a.scale * std::sqrt(static_cast<float>(a.head_dim)) - 1.0f) < 1e-5f,
              "scores over sqrt(head_dim)");
      shape.heads = a.heads;
      shape.kv_heads = a.kv_heads;
      shape.head_dim = a.head_dim;
      shape.qk_norm = a.qk_norm == QkNorm::kPerHead;
    }
    for (const auto& [name, tensor] : source_.tensors) {
      require(!name.ends_with(".bias") || name.ends_with("exp_probs_b.bias"), "no " + name);
    }
    const Rope& r = rope();
    require(r.dims == shape.head_dim && r.magnitude == 1.0f && r.long_inverse_frequency.empty(),
            "all of a head rotated");
    const double last = r.inverse_frequency.back(), pairs = static_cast<double>(r.inverse_frequency.size());
    shape.rope_theta = pairs > 1 ? static_cast<float>(std::pow(last, -pairs / (pairs - 1))) : 10000.0f;
    shape.rope_theta = std::round(shape.rope_theta);
    for (std::size_t i = 0; i < r.inverse_frequency.size(); ++i) {
      const double plain = std::pow(static_cast<double>(shape.rope_theta), -static_cast<double>(i) / pairs);
      require(std::abs(r.inverse_frequency[i] - plain) <= kSameFrequency * plain, "unscaled rotary positions");
    }
  }

  void add_networks(LanguageModelShape& shape) const {
    const std::vector<BlockSpec>& blocks = source_.config.blocks;
    shape.routed_layers.emplace();
    for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
      const BlockSpec& block = blocks[static_cast<std::size_t>(layer)];
      if (!block.routed) {
        const std::int64_t width = find("blk." + std::to_string(layer) + ".ffn_up.weight").rows();
        require(shape.dense_width == 0 || shape.dense_width == width, "dense layers of one width");
        shape.dense_width = width;
        continue;
      }
      shape.routed_layers->push_back(layer);
      const MoeSpec& moe = block.moe;
      require(!block.dense, "experts alone in routed layers");
      require(moe == blocks[static_cast<std::size_t>(shape.first_routed())].moe,
              "the same experts in all routed layers");
      require(!moe.shared_gate && !moe.output_bias && moe.join_after == 0, "experts that are added up");
      for (const ExpertKind& kind : moe.kinds) require(kind == ExpertKind(), "feed-forward experts");
      require(moe.rounds == Rounds() && moe.router_back == 0, "one round, routed by what the experts read");
      require(moe.input_scale == 1.0f, "experts that read the layer's input");
      require(moe.residual == ResidualRule(), "outputs that are added to the residual stream");
      require(moe.router.logits == LogitsKind::kLinear && !moe.router.logit_residual, "linear router logits");
      shape.router = moe.router;
    }
    for (const BlockSpec& block : blocks) {
      require((block.routed ? block.moe.activation : block.ffn.activation) == Activation{}, "SwiGLU");
    }
    put_dense_layers_first(shape);
    if (!shape.routes()) return;
    const std::string prefix = "blk." + std::to_string(shape.first_routed()) + ".";
    const Tensor* stacked = lookup(prefix + "ffn_up_exps.weight");
    shape.expert_width = stacked != nullptr ? stacked->shape[1] : find(prefix + "ffn_up.0.weight").rows();
    if (const Tensor* shared = lookup(prefix + "ffn_up_shexp.weight")) shape.shared_width = shared->rows();
  }

  /// The shorter way to say it, where dense layers are the first.
  static void put_dense_layers_first(LanguageModelShape& shape) {
    const std::int64_t dense = shape.layers - shape.routed_count();
    if (shape.routes() && shape.first_routed() != dense) return;
    shape.routed_layers.reset();
    shape.dense_layers = dense;
  }

  const Tensor* lookup(const std::string& name) const {
    const auto found = source_.tensors.find(name);
    return found == source_.tensors.end() ? nullptr : &found->second;
  }
  const Tensor& find(const std::string& name) const {
    const Tensor* found = lookup(name);
    if (found == nullptr) fail(path_, tensor_label(name) + " is missing");
    return *found;
  }

  at::Tensor values(const std::string& name) const {
    const std::vector<float> decoded = decode(find(name));
    at::Tensor out = at::empty(find(name).shape, at::kFloat);
    std::memcpy(out.data_ptr(), decoded.data(), decoded.size() * sizeof(float));
    return out;
  }
  void put(const std::string& name, const at::Tensor& from, const at::Tensor& into) const {
    if (from.sizes() != into.sizes())
      fail(path_,
           tensor_label(name) + " is " + to_string(from.sizes().vec()) + ", expected " + to_string(into.sizes().vec()));
    into.detach().copy_(from);
  }
  void copy(const std::string& name, const at::Tensor& into) const {
    if (into.defined()) put(name, values(name), into);
  }
  void copy_embedding(const std::string& name, const at::Tensor& into) const {
    const at::Tensor from = values(name);
    const std::int64_t rows = std::min(from.size(0), into.size(0));
    put(name, from.narrow(0, 0, rows), into.detach().narrow(0, 0, rows));
  }
  /// llama.cpp stores the rows of a head so that what rotates together is adjacent: 0, d/2, 1, d/2 + 1...
  void copy_rotated(const std::string& name, const at::Tensor& into, std::int64_t heads, bool interleaved) const {
    at::Tensor from = values(name);
    if (interleaved) {
      const std::int64_t half = from.size(0) / heads / 2, columns = from.size(1);
      from = from.view({heads, half, 2, columns}).transpose(1, 2).reshape({heads * 2 * half, columns});
    }
    put(name, from, into);
  }
  void copy_network(const std::string& prefix, const std::string& kind, const at::Tensor& gate_up,
                    const at::Tensor& down) const {
    const std::string gate = prefix + "ffn_gate" + kind, up = prefix + "ffn_up" + kind;
    put(gate, at::cat({values(gate), values(up)}, 0), gate_up);
    copy(prefix + "ffn_down" + kind, down);
  }
  void copy_experts(const std::string& prefix, const LanguageModel::Block& b) const {
    const std::string gate = prefix + "ffn_gate_exps.weight", up = prefix + "ffn_up_exps.weight";
    if (lookup(gate) != nullptr) {
      put(gate, at::cat({values(gate), values(up)}, 1), b.expert_gate_up);
      copy(prefix + "ffn_down_exps.weight", b.expert_down);
      return;
    }
    for (std::int64_t e = 0; e < b.routers[0].logits.size(0); ++e) {
      copy_network(prefix, "." + std::to_string(e) + ".weight", b.expert_gate_up.detach()[e],
                   b.expert_down.detach()[e]);
    }
  }

  std::string path_;
  ModelSource source_;
};

}  // namespace

LanguageModelShape shape_of_checkpoint(const std::string& path) {
  return Reader(path).shape();
}

void import_checkpoint(const std::string& path, LanguageModel& model) {
  Reader(path).fill(model);
}

}  // namespace junto
