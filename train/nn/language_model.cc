#include "train/nn/language_model.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "moe/json_fields.h"
#include "train/nn/expert_activation.h"

namespace junto {
namespace {

constexpr std::int64_t kLargest = 1 << 20;
constexpr std::array<std::string_view, 2> kNormKindNames = {"rms", "layer"};
/// The engine's names of what may have an adapter.
constexpr std::array<const char*, kLinearLayers> kRoles = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                           "ffn_gate", "ffn_up", "ffn_down"};

/// {"constant": 2, "copy": 1, "zero": 1}: of the router's experts, the last so many.
void read_free_experts(const Json& json, std::string_view where, MoeShape& shape) {
  JsonFields fields(json, where, "model: free_experts");
  const auto count = [&](std::string_view key, int& value, std::string_view about) {
    fields.read(key, 0, 1 << 16, value, about);
  };
  count("constant", shape.constant_experts, "Experts that mix a learned vector with their input");
  count("copy", shape.copy_experts, "Experts that return their input");
  count("zero", shape.zero_experts, "Experts that return 0");
  fields.finish();
}

/// [1, 3]: layers with experts, where it is not all after the first dense ones.
std::optional<std::vector<std::int64_t>> read_routed_layers(JsonFields& fields, std::int64_t layers) {
  constexpr std::string_view kSchema =
      R"({"type": "array", "uniqueItems": true, "items": {"type": "integer", "minimum": 0, "maximum": 1048575}})";
  const Json* list = fields.by_hand("routed_layers", kSchema,
                                    "Layers with experts, from 0, ascending; without: all after dense_layers");
  if (list == nullptr) return {};
  const auto refuse = [&] {
    fields.fail_at("routed_layers", printable(list->dump()) + ", expected numbers of layers, 0.." +
                                        std::to_string(layers - 1) + ", ascending");
  };
  if (!list->is_array()) refuse();
  std::vector<std::int64_t> out;
  for (const Json& one : *list) {
    const std::int64_t layer = one.is_number_integer() ? one.get<std::int64_t>() : -1;
    if (layer < 0 || layer >= layers || (!out.empty() && layer <= out.back())) refuse();
    out.push_back(layer);
  }
  return out;
}

/// Sizes; what they must be together is check_sizes()'s.
void read_sizes(JsonFields& fields, LanguageModelShape& shape) {
  const auto size = [&](std::string_view key, std::int64_t min, std::int64_t& value, std::string_view about) {
    fields.read(key, min, kLargest, value, about);
  };
  if (const auto found = fields.integer("vocabulary", 2, kLargest, "Tokens; without: those of the text"))
    shape.vocabulary = *found;
  size("hidden", 1, shape.hidden, "Width of the residual stream");
  size("layers", 1, shape.layers, "Blocks of attention and a feed-forward network or experts");
  size("heads", 1, shape.heads, "Heads of attention");
  shape.kv_heads =
      fields.integer("kv_heads", 1, kLargest, "Heads of keys and values, a divisor of heads; without: heads")
          .value_or(shape.heads);
  shape.head_dim = fields.integer("head_dim", 2, kLargest, "Width of a head, even; without: hidden / heads")
                       .value_or(shape.hidden / shape.heads);
  size("context", 2, shape.context, "Tokens that the model can see");
  fields.read("rope_theta", 1.0f, 1e12f, shape.rope_theta, "Base of the rotary positions");
  fields.read("norm_eps", 0.0f, 1.0f, shape.norm_eps, "Beside the mean square in RMSNorm, the variance in LayerNorm");
  fields.read("qk_norm", shape.qk_norm, "RMSNorm of queries and keys per head (Qwen3)");
  fields.read("tied_embeddings", shape.tied_embeddings, "One matrix for embedding and head");
  size("dense_layers", 0, shape.dense_layers, "The first so many layers have no experts");
  shape.routed_layers = read_routed_layers(fields, shape.layers);
  size("dense_width", 0, shape.dense_width, "Width of the feed-forward networks of layers without experts");
  size("expert_width", 0, shape.expert_width, "Hidden width of an expert; needed where a layer routes");
  size("shared_width", 0, shape.shared_width, "Of an expert that all tokens go through; 0: none");
}

void check_sizes(const LanguageModelShape& shape, const JsonFields& fields) {
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  if (shape.heads % shape.kv_heads != 0) {
    fields.fail_at("kv_heads", number(shape.kv_heads) + ", expected a divisor of " + number(shape.heads) + " (heads)");
  }
  if (shape.head_dim % 2 != 0) fields.fail_at("head_dim", number(shape.head_dim) + ", expected an even number");
  if (shape.dense_layers > shape.layers) {
    fields.fail_at("dense_layers", number(shape.dense_layers) + ", expected 0.." + number(shape.layers) + " (layers)");
  }
  if (shape.routed_layers && shape.dense_layers > 0)
    fields.fail_at("routed_layers", "given, expected none beside dense_layers");
  if (shape.routed_count() < shape.layers && shape.dense_width == 0)
    fields.fail_at("dense_width", "0, expected the width of dense layers");
}

}  // namespace

LanguageModelShape parse_language_model_shape(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "model");
  LanguageModelShape shape;
  read_sizes(fields, shape);
  const auto part = [&](std::string_view key, const auto& parse, auto& value, std::string_view about) {
    if (const Json* found = fields.any(key, about)) value = parse(*found, where);
  };
  part("activation", parse_activation, shape.activation, "Of experts and dense layers; without: SwiGLU");
  if (const Json* free = fields.any("free_experts", "The last so many of the router's experts (MoE++)"))
    read_free_experts(*free, where, shape);
  part("rounds", parse_rounds, shape.rounds, "Rounds in a layer (Chain-of-Experts)");
  fields.read("norm", kNormKindNames, shape.norm,
              "Of the residual stream: RMSNorm, or LayerNorm with mean and bias; of q and k it is RMSNorm");
  fields.read(
      "norms", kBlockNormNames, shape.norms,
      "Before sublayers, on residual sums, or those with a second sum and norm of routed layers (MomentumSMoE)");
  fields.read("input_scale", -1e6f, 1e6f, shape.input_scale,
              "Of what routed experts read, free ones too (released code of MoE++)");
  part("residual", parse_residual_rule, shape.residual, "How routed layers join the residual stream");
  part("first_residual", parse_residual_rule, shape.first_residual, "The same of the first of them");
  fields.read("router_back", 0, 64, shape.router_back, "A router reads what the routed layer so many below read");
  const Json* router = fields.any("router", "How layers route; needed where one does");
  const Json* training = fields.any("router_training", "What training does to a router and inference does not");
  if (fields.recording()) parse_router_training(*training, parse_router_spec(*router, where), where);
  if (!fields.finish()) return shape;
  check_sizes(shape, fields);
  if (!shape.routes()) {  // nothing routes, and what is said of routers must be right all the same
    const RouterSpec unused = router != nullptr ? parse_router_spec(*router, where) : RouterSpec{.experts = 1};
    if (training != nullptr) parse_router_training(*training, unused, where);
    return shape;
  }
  if (shape.expert_width == 0) fields.fail_at("expert_width", "0, expected the width of an expert");
  if (router == nullptr) {
    fields.fail_at("router", "missing, expected how " + std::to_string(shape.routed_count()) + " layers route");
  }
  shape.router = parse_router_spec(*router, where);
  shape.router_training = parse_router_training(training != nullptr ? *training : Json::object(), shape.router, where);
  if (shape.router_back > 0 && shape.rounds.count > 1) {
    fields.fail_at("router_back", std::to_string(shape.router_back) + ", expected 0 with several rounds");
  }
  check_moe_shape(shape, std::string(where) + ": model");
  return shape;
}

std::pair<std::int64_t, std::int64_t> LanguageModelShape::size_of(LinearLayer layer) const {
  const std::int64_t q = heads * head_dim, kv = kv_heads * head_dim;
  switch (layer) {
    case LinearLayer::kQ:
      return {q, hidden};
    case LinearLayer::kK:
    case LinearLayer::kV:
      return {kv, hidden};
    case LinearLayer::kO:
      return {hidden, q};
    case LinearLayer::kGate:
    case LinearLayer::kUp:
      return {dense_width, hidden};
    case LinearLayer::kDown:
      break;
  }
  return {hidden, dense_width};
}

void check_adapters(const AdapterShape& adapters, const LanguageModelShape& model, std::string_view where) {
  const auto refuse = [&](bool wrong, LinearLayer layer, std::string_view expected) {
    if (!wrong || !adapters.has(layer)) return;
    fail(where, "adapters: targets has " + std::string(name_of(layer)) + ", expected " + std::string(expected));
  };
  for (const LinearLayer layer : {LinearLayer::kGate, LinearLayer::kUp, LinearLayer::kDown})
    refuse(model.routes(), layer, "layers of attention alone in a model with experts");
  refuse(!model.activation.gated, LinearLayer::kGate, "none: activation has no gate");
}

LanguageModel::LanguageModel(LanguageModelShape shape, std::uint64_t seed, std::shared_ptr<const ExpertShare> share)
    : shape_(std::move(shape)), share_(std::move(share)) {
  const LanguageModelShape& s = shape_;
  blocks_.resize(s.layers);
  std::vector<Parameters::Request> requests;
  const auto matrix = [&](std::string name, std::vector<std::int64_t> sizes, at::Tensor& out, double deviation) {
    requests.push_back(
        {.name = std::move(name), .shape = std::move(sizes), .out = &out, .deviation = deviation, .decays = true});
  };
  const auto norm = [&](const std::string& name, std::int64_t size, at::Tensor& out, at::Tensor* bias = nullptr) {
    requests.push_back({.name = name + ".weight", .shape = {size}, .out = &out, .mean = 1.0});
    if (bias != nullptr && s.norm == NormKind::kLayer)
      requests.push_back({.name = name + ".bias", .shape = {size}, .out = bias});
  };
  // GPT-2's initialisation: what ends in the residual stream is smaller the more layers add to it.
  constexpr double kDeviation = 0.02;
  const double residual = kDeviation / std::sqrt(2.0 * static_cast<double>(s.layers));
  matrix("token_embd.weight", {s.vocabulary, s.hidden}, embedding_, kDeviation);
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    Block& b = blocks_[layer];
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    const std::int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    const bool pre = s.norms == BlockNorms::kPre, again = s.norms == BlockNorms::kPostTwice && s.routed(layer);
    norm(prefix + (pre ? "attn_norm" : "attn_output_norm"), s.hidden, pre ? b.attn_norm : b.attn_sum_norm,
         pre ? &b.attn_norm_bias : &b.attn_sum_norm_bias);
    matrix(prefix + "attn_q.weight", {q, s.hidden}, b.q, kDeviation);
    matrix(prefix + "attn_k.weight", {kv, s.hidden}, b.k, kDeviation);
    matrix(prefix + "attn_v.weight", {kv, s.hidden}, b.v, kDeviation);
    matrix(prefix + "attn_output.weight", {s.hidden, q}, b.output, residual);
    if (s.qk_norm) {
      norm(prefix + "attn_q_norm", s.head_dim, b.q_norm);
      norm(prefix + "attn_k_norm", s.head_dim, b.k_norm);
    }
    if (pre) norm(prefix + "ffn_norm", s.hidden, b.ffn_norm, &b.ffn_norm_bias);
    if (!pre)
      norm(prefix + (again ? "ffn_output_norm" : "layer_output_norm"), s.hidden, b.ffn_sum_norm, &b.ffn_sum_norm_bias);
    if (again) norm(prefix + "layer_output_norm", s.hidden, b.ffn_second_norm, &b.ffn_second_norm_bias);
    if (s.routed(layer)) {
      const int carried = layer > s.first_routed() ? s.router.experts : 0;
      b.share = share_;
      request_moe_parameters(s, s.hidden, prefix, carried, kDeviation, residual, b, requests);
    } else {
      matrix(prefix + "ffn_gate_up.weight", {projected_width(s.activation, s.dense_width), s.hidden}, b.gate_up,
             kDeviation);
      matrix(prefix + "ffn_down.weight", {s.hidden, s.dense_width}, b.down, residual);
    }
    for (std::size_t i = 0; s.adapters && i < kLinearLayers; ++i) {
      const auto which = static_cast<LinearLayer>(i);
      if (!s.adapters->has(which)) continue;
      const auto [outputs, inputs] = s.size_of(which);
      request_adapter_parameters(*s.adapters, outputs, inputs, prefix + kRoles[i], b.adapters[i], requests);
    }
  }
  norm("output_norm", s.hidden, output_norm_, &output_norm_bias_);
  if (!s.tied_embeddings) matrix("output.weight", {s.outputs(), s.hidden}, head_, kDeviation);
  parameters_ = Parameters(requests, seed);
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    if (!s.routed(layer)) continue;
    MoeParameters& moe = blocks_[layer];
    moe.gradients = parameters_.write_in_place(moe.expert_gate_up, moe.expert_down);
  }
  if (s.routes()) routers_ = compile_routers(s);
  if (s.adapters && s.adapters->router) adapter_router_ = compile_router(*s.adapters->router, {});

  const std::int64_t half = s.head_dim / 2;
  cosine_ = at::empty({s.context, half}, at::kFloat);
  sine_ = at::empty({s.context, half}, at::kFloat);
  for (std::int64_t position = 0; position < s.context; ++position) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double frequency =
          std::pow(static_cast<double>(s.rope_theta), -2.0 * static_cast<double>(i) / static_cast<double>(s.head_dim));
      cosine_.data_ptr<float>()[position * half + i] =
          static_cast<float>(std::cos(static_cast<double>(position) * frequency));
      sine_.data_ptr<float>()[position * half + i] =
          static_cast<float>(std::sin(static_cast<double>(position) * frequency));
    }
  }
}

std::vector<RouterPlace> LanguageModel::routers() const {
  std::vector<RouterPlace> places;
  std::size_t routed = 0;
  for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
    if (!shape_.routed(layer)) continue;
    const std::vector<MoeParameters::Router>& routers = blocks_[layer].routers;
    const std::size_t first = places.size();
    for (std::size_t r = 0; r < routers.size(); ++r) {
      const std::string number = r > 0 ? "." + std::to_string(r) : "";
      places.push_back({.bias_name = "blk." + std::to_string(layer) + ".exp_probs_b" + number + ".bias",
                        .selection_bias = routers[r].selection_bias,
                        .routed = {}});
    }
    for (int round = 0; round < shape_.rounds.count; ++round) {
      places[first + static_cast<std::size_t>(shape_.rounds.router_of(round))].routed.push_back(routed++);
    }
  }
  return places;
}

void LanguageModel::set_routing(const RouterSpec& router, const RouterTraining& training) {
  TORCH_CHECK(router.experts == shape_.router.experts && router.logits == shape_.router.logits &&
                  router.logit_residual == shape_.router.logit_residual &&
                  router.selection_bias == shape_.router.selection_bias,
              "LanguageModel: a router of other parameters, expected other rules alone");
  shape_.router = router;
  shape_.router_training = training;
  routers_ = compile_routers(shape_);
}

}  // namespace junto
