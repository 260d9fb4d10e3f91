// The forward pass of LanguageModel.
#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "train/nn/attention.h"
#include "train/nn/feed_forward.h"
#include "train/nn/language_model.h"
#include "train/nn/recompute.h"
#include "train/nn/rms_norm.h"

namespace junto {
namespace {

/// The place of the very same tensor, or the size where it is not there.
std::size_t place_of(const std::vector<at::Tensor>& tensors, const at::Tensor& tensor) {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const at::Tensor& t) { return t.is_same(tensor); });
  return static_cast<std::size_t>(found - tensors.begin());
}

}  // namespace

/// What travels from block to block.
struct LanguageModel::Stream {
  at::Tensor x;  // [rows, D]
  ResidualMoments moments;
  std::vector<at::Tensor> read;      // by the routed layers so far, where routers look back
  std::vector<RoutedUnits> adapted;  // by adapters so far
  MoePass pass;

  /// All tensors that are there, in an order of their own.
  std::vector<at::Tensor*> tensors() {
    std::vector<at::Tensor*> all = {&x, &moments.m, &moments.p, &moments.v, &pass.carried_logits};
    for (at::Tensor& one : read) all.push_back(&one);
    for (std::vector<RoutedUnits>* routings : {&pass.routed, &adapted}) {
      for (RoutedUnits& r : *routings)
        all.insert(all.end(), {&r.logits, &r.scores, &r.weights, &r.clean_logits, &r.deviation});
    }
    std::erase_if(all, [](const at::Tensor* tensor) { return !tensor->defined(); });
    return all;
  }
};

at::Tensor LanguageModel::normed(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) const {
  if (!weight.defined()) return x;
  if (bias.defined()) return at::layer_norm(x, {x.size(1)}, weight, bias, shape_.norm_eps);
  return rms_norm(x, weight, shape_.norm_eps);
}

at::Tensor LanguageModel::update_of(const Block& block, LinearLayer layer, const at::Tensor& x,
                                    std::vector<RoutedUnits>& adapted) const {
  return adapter_update(*shape_.adapters, adapter_router_, block.adapters[static_cast<std::size_t>(layer)], x, adapted);
}

at::Tensor LanguageModel::attention(const Block& block, const at::Tensor& x, std::int64_t sequences,
                                    std::int64_t length, std::vector<RoutedUnits>& adapted) const {
  const LanguageModelShape& s = shape_;
  const auto linear = [&](LinearLayer layer, const at::Tensor& weight, const at::Tensor& input) {
    const at::Tensor product = project(input, weight);
    return adapts(layer) ? product + update_of(block, layer, input, adapted) : product;
  };
  at::Tensor q = linear(LinearLayer::kQ, block.q, x), k = linear(LinearLayer::kK, block.k, x);
  const at::Tensor v = linear(LinearLayer::kV, block.v, x);
  if (s.qk_norm) {
    const auto per_head = [&](const at::Tensor& rows, const at::Tensor& weight) {
      return rms_norm(rows.view({-1, s.head_dim}), weight, s.norm_eps).view(rows.sizes());
    };
    q = per_head(q, block.q_norm);
    k = per_head(k, block.k_norm);
  }
  const at::Tensor mixed = causal_attention(
      q, k, v, cosine_, sine_,
      {.sequences = sequences, .length = length, .heads = s.heads, .kv_heads = s.kv_heads, .head_dim = s.head_dim});
  return linear(LinearLayer::kO, block.output, mixed);
}

at::Tensor LanguageModel::dense_network(const Block& block, const at::Tensor& x,
                                        std::vector<RoutedUnits>& adapted) const {
  FeedForwardUpdates updates;
  const auto set = [&](LinearLayer layer, auto& update) {
    if (!adapts(layer)) return;
    update = [this, &block, &adapted, layer](const at::Tensor& in) { return update_of(block, layer, in, adapted); };
  };
  set(LinearLayer::kGate, updates.gate);
  set(LinearLayer::kUp, updates.up);
  set(LinearLayer::kDown, updates.down);
  return feed_forward(shape_.activation, x, block.gate_up, block.down, updates);
}

void LanguageModel::run_block(std::int64_t layer, std::int64_t sequences, std::int64_t length, Stream& stream) const {
  const LanguageModelShape& s = shape_;
  const Block& block = blocks_[layer];
  stream.x = stream.x + attention(block, normed(stream.x, block.attn_norm, block.attn_norm_bias), sequences, length,
                                  stream.adapted);
  stream.x = normed(stream.x, block.attn_sum_norm, block.attn_sum_norm_bias);
  if (!s.routed(layer)) {
    const at::Tensor read = normed(stream.x, block.ffn_norm, block.ffn_norm_bias);
    const auto network = [&](const at::Tensor& x) { return dense_network(block, x, stream.adapted); };
    stream.x =
        normed(stream.x + timed(stream.pass.experts, read, network), block.ffn_sum_norm, block.ffn_sum_norm_bias);
    return;
  }
  const ResidualRule& rule = s.residual_of(layer);
  const at::Tensor read = normed(look_ahead(rule, stream.x, stream.moments), block.ffn_norm, block.ffn_norm_bias);
  at::Tensor router_input;
  if (s.router_back > 0) {
    const auto back = static_cast<std::size_t>(s.router_back);
    if (stream.read.size() >= back) router_input = stream.read[stream.read.size() - back];
    stream.read.push_back(read);
  }
  const at::Tensor out = moe_layer(s, routers_, block, read, stream.pass, router_input);
  const at::Tensor joined =
      normed(join_residual(rule, stream.x, out, read, stream.moments), block.ffn_sum_norm, block.ffn_sum_norm_bias);
  stream.x = block.ffn_second_norm.defined()
                 ? normed(stream.x + joined, block.ffn_second_norm, block.ffn_second_norm_bias)
                 : joined;
}

void LanguageModel::run_block_twice(std::int64_t layer, std::int64_t sequences, std::int64_t length,
                                    Stream& stream) const {
  std::vector<RoutedUnits> routed = std::exchange(stream.pass.routed, {}), adapted = std::exchange(stream.adapted, {});
  Stream begin = stream, result;
  std::vector<at::Tensor> inputs;
  for (at::Tensor* tensor : begin.tensors()) {
    inputs.push_back(*tensor);
    *tensor = tensor->detach();  // the function must not hold on to what came before it
  }
  // Gives every tensor that is new, once; the first call leaves all that a block makes in `result`.
  const auto body = [this, layer, sequences, length, begin, keep = &result](const auto& given) mutable {
    Stream own = begin;
    const std::vector<at::Tensor*> places = own.tensors();
    for (std::size_t i = 0; i < places.size(); ++i) *places[i] = given[i];
    run_block(layer, sequences, length, own);
    std::vector<at::Tensor> outs;
    for (const at::Tensor* tensor : own.tensors()) {
      if (place_of(given, *tensor) == given.size() && place_of(outs, *tensor) == outs.size()) outs.push_back(*tensor);
    }
    if (keep != nullptr) *std::exchange(keep, nullptr) = std::move(own);
    return outs;
  };
  const std::vector<at::Tensor> outs = recomputed(body, inputs);
  std::vector<at::Tensor> seen;
  for (at::Tensor* tensor : result.tensors()) {
    if (place_of(inputs, *tensor) < inputs.size()) continue;
    const std::size_t place = place_of(seen, *tensor);
    if (place == seen.size()) seen.push_back(*tensor);
    *tensor = outs[place];
  }
  routed.insert(routed.end(), result.pass.routed.begin(), result.pass.routed.end());
  adapted.insert(adapted.end(), result.adapted.begin(), result.adapted.end());
  stream = std::move(result);
  stream.pass.routed = std::move(routed);
  stream.adapted = std::move(adapted);
}

LanguageModel::Output LanguageModel::forward(const at::Tensor& tokens, const DrawPlace* draws, Activations activations,
                                             StageClock* experts) const {
  const LanguageModelShape& s = shape_;
  const std::int64_t sequences = tokens.size(0), length = tokens.size(1);
  TORCH_CHECK(length <= s.context, "LanguageModel: ", length, " tokens, expected 1..", s.context);
  const at::Tensor ids = tokens.reshape({-1}).contiguous();
  Stream stream;
  stream.pass.training = draws != nullptr;
  stream.pass.experts = experts;
  if (draws != nullptr) stream.pass.place = *draws;
  if (std::holds_alternative<Given>(s.router.select)) {
    stream.pass.keys.assign(ids.data_ptr<std::int64_t>(), ids.data_ptr<std::int64_t>() + ids.numel());
  }
  stream.x = at::embedding(embedding_, ids);
  // Where the embedding stays as it is, all the same: blocks that are computed twice begin with what has a gradient.
  if (at::GradMode::is_enabled()) stream.x.set_requires_grad(true);
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    if (activations == Activations::kRecomputed) {
      run_block_twice(layer, sequences, length, stream);
    } else {
      run_block(layer, sequences, length, stream);
    }
  }
  return {.logits = project(normed(stream.x, output_norm_, output_norm_bias_), head()),
          .routed = std::move(stream.pass.routed),
          .adapted = std::move(stream.adapted)};
}

}  // namespace junto
