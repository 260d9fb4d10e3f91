#include "model/weights.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/mapped_pages.h"
#include "format/packed_experts.h"
#include "model/stored_tensors.h"
#include "model/stream_experts.h"

namespace junto {
namespace {

std::string in_block(std::size_t block, std::string_view role) {
  return "blk." + std::to_string(block) + "." + std::string(role);
}

class Loader {
 public:
  Loader(const std::string& path, const ModelConfig& config, const TensorTable& table, const AdapterTable& adapters,
         const std::optional<PackedExperts>& packed, const LoadOptions& options)
      : config_(config), hidden_(config.hidden_size), packed_(packed), tensors_(path, table, adapters, options) {}

  void load(Model& model);

 private:
  NormWeights norm(const std::string& role, std::int64_t size, bool present = true);
  BlockWeights block(std::size_t index);
  RouterWeights router(std::size_t index, int number);
  AttentionWeights attention(std::size_t index, const AttentionSpec& spec);
  MlaWeights mla(std::size_t index, const MlaSpec& spec);
  ShortConvWeights short_conv(std::size_t index, const ShortConvSpec& spec);
  ExpertAttentionWeights expert_attention(std::size_t index, const ExpertAttentionSpec& spec);
  ExpertWeights ffn(const std::string& gate, const std::string& up, const std::string& down,
                    const Activation& activation, const std::string& down_by_column = {});
  std::vector<ExpertWeights> routed_experts(std::size_t index);
  Linear expert_matrix(std::size_t index, const char* part, int expert, std::int64_t rows, std::int64_t cols);
  Linear expert_columns(std::size_t index, const char* part, int expert, std::int64_t rows, std::int64_t cols);
  Linear stored_expert(std::size_t index, const std::string& part, int expert, std::int64_t rows, std::int64_t cols,
                       bool by_column);
  void finish_expert(std::size_t index, const char* part, int expert, Linear& linear);
  std::vector<float> expert_bias(std::size_t index, const char* part, int expert, std::int64_t rows);
  std::optional<WeightMatrix> packed_expert_matrix(std::size_t index, const std::string& stack, int expert,
                                                   std::int64_t rows, std::int64_t cols);

  const ModelConfig& config_;
  const std::int64_t hidden_;
  const std::optional<PackedExperts>& packed_;
  StoredTensors tensors_;
};

NormWeights Loader::norm(const std::string& role, std::int64_t size, bool present) {
  NormWeights out;
  if (!present) return out;
  out.eps = config_.norm_eps;
  out.scale = tensors_.vector(role + ".weight", size);
  if (config_.norm_plus_one) {
    for (float& value : out.scale) value += 1.0f;
  }
  if (config_.norm == NormKind::kLayer) out.bias = tensors_.vector_or_empty(role + ".bias", size);
  return out;
}

AttentionWeights Loader::attention(std::size_t index, const AttentionSpec& spec) {
  const std::int64_t q = std::int64_t{spec.heads} * spec.head_dim, kv = std::int64_t{spec.kv_heads} * spec.head_dim;
  AttentionWeights w;
  w.q = tensors_.linear(in_block(index, "attn_q"), q, hidden_);
  w.k = tensors_.linear(in_block(index, "attn_k"), kv, hidden_);
  w.v = tensors_.linear(in_block(index, "attn_v"), kv, hidden_);
  w.output = tensors_.linear(in_block(index, "attn_output"), hidden_, q);
  if (spec.output_gate) w.gate = tensors_.linear(in_block(index, "attn_gate"), q, hidden_);
  if (spec.qk_norm == QkNorm::kPerHead || spec.qk_norm == QkNorm::kFullWidth) {
    const bool full = spec.qk_norm == QkNorm::kFullWidth;
    w.q_norm = norm(in_block(index, "attn_q_norm"), full ? q : spec.head_dim).scale;
    w.k_norm = norm(in_block(index, "attn_k_norm"), full ? kv : spec.head_dim).scale;
  }
  if (spec.sinks) w.sinks = tensors_.vector(in_block(index, "attn_sinks.weight"), spec.heads);
  return w;
}

// row += row n of what adapters add to the matrix.
void add_low_rank_rows(const Linear& linear, std::int64_t n, std::span<float> row) {
  for (const Overlay& overlay : *linear.overlays) {
    const auto& update = std::get<LowRank>(overlay);
    for (std::int64_t j = 0; j < update.rank; ++j) {
      const float factor = update.scale * update.b_transposed[j * linear.weights.rows + n];
      for (std::size_t c = 0; c < row.size(); ++c) row[c] += factor * update.a[j * std::ssize(row) + c];
    }
  }
}

// kv_b [heads * (nope + value), kv_rank], split per head; its key half is needed transposed.
void split_kv_b(const Linear& kv_b, const MlaSpec& spec, MlaWeights& w) {
  std::vector<float> row(spec.kv_rank);
  const WeightMatrix& m = kv_b.weights;
  // Both halves are decoded here in any case: updates go into them.
  const auto decode_updated = [&](std::int64_t n) {
    decode_row(m, n, row);
    if (kv_b.has_overlays()) add_low_rank_rows(kv_b, n, row);
  };
  for (int h = 0; h < spec.heads; ++h) {
    const std::int64_t first = std::int64_t{h} * (spec.nope_dim + spec.value_dim);
    std::vector<float> keys(std::size_t(spec.kv_rank) * spec.nope_dim);
    for (int n = 0; n < spec.nope_dim; ++n) {
      decode_updated(first + n);
      for (int c = 0; c < spec.kv_rank; ++c) keys[std::size_t(c) * spec.nope_dim + n] = row[c];
    }
    std::vector<float> values(std::size_t(spec.value_dim) * spec.kv_rank);
    for (int v = 0; v < spec.value_dim; ++v) {
      decode_updated(first + spec.nope_dim + v);
      std::copy(row.begin(), row.end(), values.begin() + std::size_t(v) * spec.kv_rank);
    }
    w.k_b.push_back(make_weights(make_tensor({spec.kv_rank, spec.nope_dim}, std::move(keys))));
    w.v_b.push_back(make_weights(make_tensor({spec.value_dim, spec.kv_rank}, std::move(values))));
  }
}

MlaWeights Loader::mla(std::size_t index, const MlaSpec& spec) {
  const std::int64_t q = std::int64_t{spec.heads} * (spec.nope_dim + spec.rope_dim);
  MlaWeights w;
  if (spec.q_rank > 0) {
    w.q_a = tensors_.linear(in_block(index, "attn_q_a"), spec.q_rank, hidden_);
    w.q_a_norm = norm(in_block(index, "attn_q_a_norm"), spec.q_rank).scale;
    w.q_b = tensors_.linear(in_block(index, "attn_q_b"), q, spec.q_rank);
  } else {
    w.q = tensors_.linear(in_block(index, "attn_q"), q, hidden_);
  }
  w.kv_a = tensors_.linear(in_block(index, "attn_kv_a_mqa"), spec.kv_rank + spec.rope_dim, hidden_);
  w.kv_a_norm = norm(in_block(index, "attn_kv_a_norm"), spec.kv_rank).scale;
  w.output = tensors_.linear(in_block(index, "attn_output"), hidden_, std::int64_t{spec.heads} * spec.value_dim);
  const std::string k_b = in_block(index, "attn_k_b.weight"), v_b = in_block(index, "attn_v_b.weight");
  if (const Tensor* keys =
          tensors_.find(k_b)) {  // newer GGUF files hold the halves: [heads, kv_rank, nope], [heads, value, kv_rank]
    const Tensor& values = tensors_.require(v_b);
    tensors_.expect_shape(k_b, *keys, {spec.heads, spec.kv_rank, spec.nope_dim});
    tensors_.expect_shape(v_b, values, {spec.heads, spec.value_dim, spec.kv_rank});
    for (int h = 0; h < spec.heads; ++h) {
      w.k_b.push_back(tensors_.linear_from(k_b, slice(*keys, h), -1, -1).weights);
      w.v_b.push_back(tensors_.linear_from(v_b, slice(values, h), -1, -1).weights);
    }
    tensors_.find(in_block(index, "attn_kv_b.weight"));
  } else {
    const std::int64_t rows = std::int64_t{spec.heads} * (spec.nope_dim + spec.value_dim);
    split_kv_b(tensors_.linear(in_block(index, "attn_kv_b"), rows, spec.kv_rank), spec, w);
  }
  return w;
}

ShortConvWeights Loader::short_conv(std::size_t index, const ShortConvSpec& spec) {
  ShortConvWeights w;
  w.in = tensors_.linear(in_block(index, "shortconv.in_proj"), 3 * hidden_, hidden_);
  w.out = tensors_.linear(in_block(index, "shortconv.out_proj"), hidden_, hidden_);
  w.taps = tensors_.vector(in_block(index, "shortconv.conv.weight"), hidden_ * spec.taps);
  w.tap_bias = tensors_.vector_or_empty(in_block(index, "shortconv.conv.bias"), hidden_);
  return w;
}

ExpertAttentionWeights Loader::expert_attention(std::size_t index, const ExpertAttentionSpec& spec) {
  const AttentionSpec& a = spec.attention;
  const std::int64_t kv = std::int64_t{a.kv_heads} * a.head_dim;
  ExpertAttentionWeights w;
  w.k = tensors_.linear(in_block(index, "attn_k"), kv, hidden_);
  w.v = tensors_.linear(in_block(index, "attn_v"), kv, hidden_);
  w.router.logits = tensors_.linear(in_block(index, "attn_gate_inp"), spec.router.experts, hidden_);
  for (int e = 0; e < spec.router.experts; ++e) {
    w.q.push_back(expert_matrix(index, "attn_q", e, kv, hidden_));
    w.output.push_back(expert_matrix(index, "attn_output", e, hidden_, kv));
  }
  w.bias = tensors_.vector_or_empty(in_block(index, "attn_moe.bias"), hidden_);
  return w;
}

// One expert's matrix, stored alone (blk.L.ffn_gate.E.weight) or in a stack (blk.L.ffn_gate_exps.weight [E, N, K]).
Linear Loader::stored_expert(std::size_t index, const std::string& part, int expert, std::int64_t rows,
                             std::int64_t cols, bool by_column) {
  const auto make = [&](const std::string& name, const Tensor& tensor) {
    return by_column ? tensors_.columns_from(name, tensor, rows, cols, true)
                     : tensors_.linear_from(name, tensor, rows, cols, true);
  };
  const std::string alone = in_block(index, part) + "." + std::to_string(expert) + ".weight";
  const std::string stack = in_block(index, part) + "_exps.weight";
  if (const Tensor* tensor = tensors_.find(alone)) return make(alone, *tensor);
  const Tensor* stacked = tensors_.find(stack);
  if (!stacked) fail(tensors_.path(), "tensor " + alone + " is missing, and so is " + stack);
  if (stacked->shape.size() != 3 || stacked->shape[0] <= expert) {
    fail(tensors_.path(), "tensor " + stack + " has shape " + to_string(stacked->shape) +
                              ", expected 3 dimensions and more than " + std::to_string(expert) + " experts");
  }
  return make(stack, slice(*stacked, expert));
}

std::vector<float> Loader::expert_bias(std::size_t index, const char* part, int expert, std::int64_t rows) {
  const std::string stack = in_block(index, part) + "_exps.bias";
  const Tensor* bias = tensors_.find(stack);
  if (!bias) return tensors_.vector_or_empty(in_block(index, part) + "." + std::to_string(expert) + ".bias", rows);
  if (bias->shape.size() != 2 || bias->shape[0] <= expert || bias->shape[1] != rows) {
    fail(tensors_.path(), "tensor " + stack + " has shape " + to_string(bias->shape) + ", expected [experts, " +
                              std::to_string(rows) + "]");
  }
  return decode(slice(*bias, expert));
}

Linear Loader::expert_matrix(std::size_t index, const char* part, int expert, std::int64_t rows, std::int64_t cols) {
  Linear linear;
  if (const auto packed = packed_expert_matrix(index, in_block(index, part) + "_exps", expert, rows, cols)) {
    linear.weights = *packed;
  } else {
    linear = stored_expert(index, part, expert, rows, cols, false);
  }
  finish_expert(index, part, expert, linear);
  return linear;
}

// Bias and overlays.
void Loader::finish_expert(std::size_t index, const char* part, int expert, Linear& linear) {
  linear.bias = expert_bias(index, part, expert, linear.weights.rows);
  tensors_.adapters().attach(in_block(index, part) + "." + std::to_string(expert) + ".weight", linear);
}

// The same where the matrix may also be stored by column: blk.L.ffn_down_t_exps.weight [E, K, N].
Linear Loader::expert_columns(std::size_t index, const char* part, int expert, std::int64_t rows, std::int64_t cols) {
  const std::string by_column = std::string(part) + "_t";
  const std::string name = in_block(index, by_column);
  Linear linear;
  if (const auto packed = packed_expert_matrix(index, name + "_exps", expert, rows, cols)) {
    linear.weights = *packed;
    finish_expert(index, part, expert, linear);
    return linear;
  }
  if (!tensors_.contains(name + "_exps.weight") && !tensors_.contains(name + "." + std::to_string(expert) + ".weight"))
    return expert_matrix(index, part, expert, rows, cols);
  linear = stored_expert(index, by_column, expert, rows, cols, true);
  finish_expert(index, part, expert, linear);
  return linear;
}

// In the kernels' layout in the mapped file (format/packed_experts.h); nothing where the block is not packed.
std::optional<WeightMatrix> Loader::packed_expert_matrix(std::size_t index, const std::string& stack, int expert,
                                                         std::int64_t rows, std::int64_t cols) {
  const auto layer = packed_ ? packed_->layers.find(static_cast<int>(index)) : decltype(packed_->layers.begin()){};
  if (!packed_ || layer == packed_->layers.end()) return std::nullopt;
  const std::string name = packed_tensor_name(static_cast<int>(index));
  tensors_.find(packed_checksums_name(static_cast<int>(index)));
  return find_packed_matrix(layer->second, {name, tensors_.require(name)}, stack + ".weight", expert, rows, cols,
                            tensors_.path());
}

ExpertWeights Loader::ffn(const std::string& gate, const std::string& up, const std::string& down,
                          const Activation& activation, const std::string& down_by_column) {
  ExpertWeights w;
  w.activation = activation;
  w.up = tensors_.linear(up, -1, hidden_);
  if (activation.gated) w.gate = tensors_.linear(gate, w.width(), hidden_);
  const std::string columns = down_by_column + ".weight";
  if (!tensors_.contains(columns)) {
    w.down = tensors_.linear(down, hidden_, w.width());
    return w;
  }
  w.down = tensors_.columns_from(columns, tensors_.require(columns), hidden_, w.width());
  w.down.bias = tensors_.vector_or_empty(down + ".bias", hidden_);
  tensors_.adapters().attach(down + ".weight", w.down);
  return w;
}

std::vector<ExpertWeights> Loader::routed_experts(std::size_t index) {
  const MoeSpec& moe = config_.blocks[index].moe;
  std::vector<ExpertWeights> experts(moe.router.experts);
  for (int e = 0; e < moe.router.experts; ++e) {
    ExpertWeights& w = experts[e];
    w.kind = moe.kinds[e];
    w.activation = moe.activation;
    if (w.kind == ExpertKind::kConstant) {
      const std::string suffix = std::to_string(e) + ".weight";
      w.constant = tensors_.vector(in_block(index, "ffn_constant." + suffix), hidden_);
      w.constant_mix = tensors_.vector_or_empty(in_block(index, "ffn_constant_mix." + suffix), 2 * hidden_);
    }
    if (!has_weights(w.kind)) {  // published all the same for some identities (LongCat)
      for (const char* part : {"ffn_gate.", "ffn_up.", "ffn_down."}) {
        tensors_.find(in_block(index, part + std::to_string(e) + ".weight"));
      }
      continue;
    }
    // In the order in which they are computed with: a small expert is then one stream of memory.
    if (w.activation.gated) w.gate = expert_matrix(index, "ffn_gate", e, -1, hidden_);
    w.up = expert_matrix(index, "ffn_up", e, w.activation.gated ? w.gate.weights.rows : -1, hidden_);
    w.down = expert_columns(index, "ffn_down", e, hidden_, w.width());
  }
  return experts;
}

// Router `number` of a block; the first has no number in its names.
RouterWeights Loader::router(std::size_t index, int number) {
  const RouterSpec& spec = config_.blocks[index].moe.router;
  const auto name = [&](std::string_view role) {
    return in_block(index, role) + (number > 0 ? "." + std::to_string(number) : "");
  };
  RouterWeights w;
  const bool two_layer = spec.logits == LogitsKind::kTwoLayer;
  if (two_layer) w.hidden = tensors_.linear(name("ffn_gate_inp_hidden"), spec.logits_hidden, hidden_);
  w.logits = tensors_.linear(name("ffn_gate_inp"), spec.experts, two_layer ? spec.logits_hidden : hidden_);
  if (spec.logits == LogitsKind::kCosine) w.inverse_norms = inverse_row_norms(w.logits.weights);
  if (spec.selection_bias) w.selection_bias = tensors_.vector(name("exp_probs_b") + ".bias", spec.experts);
  const int carried = spec.logit_residual ? carried_experts(config_, index, number) : 0;
  if (carried > 0) w.residual = tensors_.linear(name("ffn_gate_res"), spec.experts, carried);
  if (spec.logit_residual && carried == 0) tensors_.find(name("ffn_gate_res") + ".weight");  // MoE++ publishes it too
  return w;
}

BlockWeights Loader::block(std::size_t index) {
  const BlockSpec& spec = config_.blocks[index];
  BlockWeights w;
  w.mixer_norm = norm(in_block(index, "attn_norm"), hidden_, spec.mixer_norm.pre);
  w.mixer_post_norm = norm(in_block(index, "post_attention_norm"), hidden_, spec.mixer_norm.post);
  w.ffn_norm = norm(in_block(index, "ffn_norm"), hidden_, spec.ffn_norm.pre);
  w.ffn_post_norm = norm(in_block(index, "post_ffw_norm"), hidden_, spec.ffn_norm.post);
  // Names of llama.cpp's encoders: the last norm of a block is layer_output_norm.
  w.mixer_sum_norm = norm(in_block(index, "attn_output_norm"), hidden_, spec.mixer_norm.sum);
  const bool again = spec.ffn_norm.again;
  w.ffn_sum_norm = norm(in_block(index, again ? "ffn_output_norm" : "layer_output_norm"), hidden_, spec.ffn_norm.sum);
  w.ffn_second_norm = norm(in_block(index, "layer_output_norm"), hidden_, again);
  if (const auto* a = std::get_if<AttentionSpec>(&spec.mixer)) w.mixer = attention(index, *a);
  if (const auto* m = std::get_if<MlaSpec>(&spec.mixer)) w.mixer = mla(index, *m);
  if (const auto* c = std::get_if<ShortConvSpec>(&spec.mixer)) w.mixer = short_conv(index, *c);
  if (const auto* e = std::get_if<ExpertAttentionSpec>(&spec.mixer)) w.mixer = expert_attention(index, *e);
  if (spec.dense) {
    w.dense =
        ffn(in_block(index, "ffn_gate"), in_block(index, "ffn_up"), in_block(index, "ffn_down"), spec.ffn.activation);
  }
  if (!spec.routed) return w;
  for (int r = 0; r < spec.moe.rounds.routers(); ++r) w.routers.push_back(router(index, r));
  if (spec.moe.shared_expert) {
    w.shared =
        ffn(in_block(index, "ffn_gate_shexp"), in_block(index, "ffn_up_shexp"), in_block(index, "ffn_down_shexp"),
            spec.moe.shared_activation.value_or(spec.moe.activation), in_block(index, "ffn_down_t_shexp"));
  }
  if (spec.moe.shared_gate) {
    const std::string name = in_block(index, "ffn_gate_inp_shexp.weight");
    Tensor row = tensors_.require(name);
    if (row.shape.size() == 1) row.shape = {1, row.shape[0]};
    w.shared_gate = tensors_.linear_from(name, row, 1, hidden_);
    tensors_.adapters().attach(name, w.shared_gate);
  }
  if (spec.moe.output_bias) w.moe_bias = tensors_.vector(in_block(index, "ffn_moe.bias"), hidden_);
  return w;
}

// Whether what the last block makes of a row depends on that row's residual stream and on other rows' keys and values
// alone.
bool can_narrow(const ModelConfig& config) {
  const std::size_t last = config.blocks.size() - 1;
  const auto carries = [](const BlockSpec& block) {
    return block.routed && (carries_moments(block.moe.residual) || block.moe.join_after > 0);
  };
  return std::ranges::none_of(config.blocks, carries) && !carries_logits(config) && router_source(config, last) == last;
}

void Loader::load(Model& model) {
  check_decodable(config_, tensors_.path());
  model.token_embedding = tensors_.require("token_embd.weight");
  tensors_.expect_shape("token_embd.weight", model.token_embedding, {config_.vocab_size, hidden_});
  model.output_norm = norm("output_norm", hidden_);
  model.output_norm.eps = config_.output_norm_eps;
  if (config_.tied_embeddings) {
    model.output = tensors_.linear_from("token_embd.weight", model.token_embedding, -1, -1);
    tensors_.find("output.weight");  // some tied checkpoints store it all the same
    model.output.bias = tensors_.vector_or_empty("output.bias", config_.vocab_size);
    tensors_.adapters().attach("output.weight", model.output);
  } else {
    model.output = tensors_.linear("output", config_.outputs(), hidden_);
  }
  std::vector<std::vector<ExpertWeights>> experts;
  for (std::size_t b = 0; b < config_.blocks.size(); ++b) {
    model.blocks.push_back(block(b));
    experts.push_back(config_.blocks[b].routed ? routed_experts(b) : std::vector<ExpertWeights>());
  }
  for (const auto& layer : experts) {
    for (const ExpertWeights& expert : layer) {
      model.routed_bytes += expert.bytes();
      // As stored: interleaved rows may be padded, and what is left of the file is the blocks'.
      for (const Linear* linear : {&expert.gate, &expert.up, &expert.down}) {
        model.routed_bytes -= linear->weights.bytes();
        model.routed_bytes += linear->weights.stored_bytes();
      }
    }
  }
  model.carries_logits = carries_logits(config_);
  model.keeps_input = kept_inputs(config_);
  model.can_narrow = can_narrow(config_);
  model.experts = std::make_unique<ExpertStore>(std::move(experts), hidden_, model.path);
  tensors_.refuse_unused(config_.blocks.size());
  tensors_.adapters().refuse_unused();
  model.total_bytes = tensors_.adapters().bytes();
}

// FNV-1a over what a saved sequence depends on.
std::uint64_t fingerprint_of(const ModelSource& source, const AdapterTable& adapters) {
  std::uint64_t hash = 1469598103934665603ull;
  const auto mix = [&](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  };
  mix(source.config.architecture);
  for (const auto& [name, tensor] : source.tensors) {
    mix(name);
    mix(dtype_name(tensor.type));
    mix(to_string(tensor.shape));
    // A few bytes of content tell apart models of one shape.
    mix({reinterpret_cast<const char*>(tensor.bytes.data()), std::min<std::size_t>(tensor.bytes.size(), 64)});
  }
  for (const auto& [name, updates] : adapters) {
    mix(name);
    for (const AdapterUpdate& update : updates) {
      const auto mix_values = [&](const Tensor& tensor) {
        mix({reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()});
      };
      for (const AdapterUpdate::Pair& pair : update.pairs) {
        mix(std::to_string(pair.scale));
        mix_values(pair.a);
        mix_values(pair.b);
      }
      if (!update.router) continue;
      mix(to_json(update.router->spec).dump());
      mix_values(update.router->weight);
    }
  }
  return hash;
}

}  // namespace

std::shared_ptr<Model> load_model(const Checkpoint& checkpoint, const LoadOptions& options) {
  ModelSource source = describe_model(checkpoint);
  auto model = std::make_shared<Model>();
  model->path = checkpoint.path;
  const std::optional<PackedExperts> packed = parse_packed_experts(checkpoint.metadata);
  const AdapterTable adapters = read_adapters(options.adapters, checkpoint, source);
  model->config = std::move(source.config);
  Loader(model->path, model->config, source.tensors, adapters, packed, options).load(*model);
  // An oracle knows the trace of a run, and that has every row.
  if (options.past && options.prefetch.rule == Prefetch::kOracle) model->can_narrow = false;
  const bool lazy = options.lazy_experts && options.pool != nullptr && has_experts_to_interleave(*model);
  if (options.expert_memory > 0 || lazy) model->cache = stream_experts(*model, checkpoint, packed, options);
  if (model->cache && model->cache->prefetch().rule == Prefetch::kPath) model->paths = options.paths;
  source.config = model->config;
  model->fingerprint = fingerprint_of(source, adapters);
  for (const auto& [name, tensor] : source.tensors) {
    model->total_bytes += tensor.bytes.size();
    model->quantised = model->quantised || is_quantised(tensor.type);
  }
  std::size_t elsewhere = model->routed_bytes + model->token_embedding.bytes.size();
  elsewhere += model->output.bytes() - (model->config.tied_embeddings ? model->output.weights.bytes() : 0);
  model->block_bytes = model->total_bytes - std::min(model->total_bytes, elsewhere);
  // Weights that were interleaved are copies: their stored form is not needed in memory as well.
  for (const auto& [name, tensor] : source.tensors) {
    if (options.pool != nullptr) release_mapped_pages(tensor.bytes);
  }
  return model;
}

std::shared_ptr<Model> load_model(const std::string& path, const LoadOptions& options) {
  return load_model(open_checkpoint(path), options);
}

}  // namespace junto
