#include "cli/model_report.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <variant>

#include "base/progress.h"
#include "format/packed_experts.h"

namespace junto {
namespace {

std::string kind_name(ExpertKind kind) {
  switch (kind) {
    case ExpertKind::kFfn:
      return "ffn";
    case ExpertKind::kZero:
      return "zero";
    case ExpertKind::kCopy:
      return "copy";
    case ExpertKind::kConstant:
      return "constant";
  }
  return "unknown";
}

std::string attention_text(const AttentionSpec& a) {
  std::string text =
      std::to_string(a.heads) + " heads, " + std::to_string(a.kv_heads) + " KV heads of " + std::to_string(a.head_dim);
  if (a.window > 0) text += ", window " + std::to_string(a.window);
  if (a.chunk > 0) text += ", chunks of " + std::to_string(a.chunk);
  if (a.rope < 0) text += ", no positions";
  return text;
}

std::string mixer_text(const MixerSpec& mixer) {
  if (const auto* a = std::get_if<AttentionSpec>(&mixer)) return "attention, " + attention_text(*a);
  if (const auto* m = std::get_if<MlaSpec>(&mixer)) {
    return "latent attention, " + std::to_string(m->heads) + " heads, rank " + std::to_string(m->kv_rank) + " + " +
           std::to_string(m->rope_dim);
  }
  if (const auto* e = std::get_if<ExpertAttentionSpec>(&mixer))
    return "expert attention, " + attention_text(e->attention);
  return "short convolution, " + std::to_string(std::get<ShortConvSpec>(mixer).taps) + " taps";
}

ExpertsReport router_report(const RouterSpec& router) {
  ExpertsReport report;
  report.count = router.experts;
  report.per_token = max_experts_per_unit(router);
  report.router = to_json(router);
  return report;
}

ExpertsReport attention_experts_report(const ExpertAttentionSpec& spec, const ExpertAttentionWeights& weights) {
  ExpertsReport report = router_report(spec.router);
  report.kinds["attention"] = spec.router.experts;
  std::set<std::string> types;
  for (const Linear& q : weights.q) types.emplace(dtype_name(q.weights.type));
  for (const Linear& output : weights.output) types.emplace(dtype_name(output.weights.type));
  report.types.assign(types.begin(), types.end());
  for (const Linear& q : weights.q) report.most_width = std::max(report.most_width, q.weights.rows);
  report.least_width = report.most_width;
  return report;
}

Json layer_of(const BlockSpec& block) {
  const MoeSpec& spec = block.moe;
  Json out = Json::object();
  if (block.ffn_norm.sum) out["norms"] = kBlockNormNames[block.ffn_norm.again ? 2 : 1];
  if (spec.input_scale != 1.0f) out["input_scale"] = spec.input_scale;
  if (spec.rounds != Rounds()) out["rounds"] = to_json(spec.rounds);
  if (spec.residual != ResidualRule()) out["residual"] = to_json(spec.residual);
  if (spec.router_back > 0) out["router_back"] = spec.router_back;
  return out;
}

ExpertsReport experts_report(const BlockSpec& block, const ExpertLayer& layer) {
  const MoeSpec& spec = block.moe;
  ExpertsReport report = router_report(spec.router);
  report.layer = layer_of(block);
  report.shared = spec.shared_expert;
  std::set<std::string> types;
  for (const ExpertWeights* expert : layer.experts) {
    ++report.kinds[kind_name(expert->kind)];
    if (!has_weights(expert->kind)) continue;
    for (const Linear* matrix : {&expert->gate, &expert->up, &expert->down}) {
      if (matrix->weights.rows > 0) types.emplace(dtype_name(matrix->weights.type));
    }
    const std::int64_t width = expert->width();
    report.least_width = report.most_width == 0 ? width : std::min(report.least_width, width);
    report.most_width = std::max(report.most_width, width);
  }
  report.types.assign(types.begin(), types.end());
  return report;
}

bool alike(const LayersReport& a, const LayersReport& b) {
  return a.mixer == b.mixer && a.dense_width == b.dense_width && a.attention_experts == b.attention_experts &&
         a.experts == b.experts;
}

/// Bytes of the experts that one token reads in a layer, all experts being alike likely and rounds taking other ones.
double expected_bytes(const MoeSpec& spec, const ExpertLayer& layer) {
  double sum = 0;
  for (const ExpertWeights* expert : layer.experts) sum += static_cast<double>(expert->bytes());
  const int most = max_experts_per_unit(spec.router) * spec.rounds.count;
  const auto experts = static_cast<double>(layer.experts.size());
  return layer.experts.empty() ? 0 : sum / experts * std::min<double>(most, experts);
}

Json to_json(const ExpertsReport& report) {
  Json out = {{"count", report.count},           {"per_token", report.per_token}, {"least_width", report.least_width},
              {"most_width", report.most_width}, {"kinds", report.kinds},         {"types", report.types},
              {"shared_expert", report.shared},  {"router", report.router}};
  if (!report.layer.empty()) out.update(report.layer);
  return out;
}

Json to_json(const LayersReport& report) {
  Json out = {
      {"first", report.first}, {"last", report.last}, {"mixer", report.mixer}, {"dense_width", report.dense_width}};
  if (!report.attention_experts.empty()) out["attention_experts"] = to_json(report.attention_experts[0]);
  if (!report.experts.empty()) out["experts"] = to_json(report.experts[0]);
  return out;
}

void add_layers(const Model& model, ModelReport& report) {
  const auto table = model.experts->snapshot();
  double per_token = static_cast<double>(report.always_read_bytes);
  for (std::size_t b = 0; b < model.config.blocks.size(); ++b) {
    const BlockSpec& block = model.config.blocks[b];
    const BlockWeights& weights = model.blocks[b];
    LayersReport one;
    one.first = one.last = static_cast<int>(b);
    one.mixer = mixer_text(block.mixer);
    if (block.dense) one.dense_width = weights.dense.width();
    if (const auto* spec = std::get_if<ExpertAttentionSpec>(&block.mixer)) {
      one.attention_experts.push_back(attention_experts_report(*spec, std::get<ExpertAttentionWeights>(weights.mixer)));
    }
    if (block.routed) {
      one.experts.push_back(experts_report(block, table->layers[b]));
      per_token += expected_bytes(block.moe, table->layers[b]);
    }
    if (!report.layers.empty() && alike(report.layers.back(), one)) {
      report.layers.back().last = one.last;
    } else {
      report.layers.push_back(std::move(one));
    }
  }
  report.bytes_per_token = static_cast<std::int64_t>(per_token);
}

void add_type(DType type, std::int64_t values, std::int64_t bytes, ModelReport& report) {
  TypeShare& share = report.types[std::string(dtype_name(type))];
  ++share.tensors;
  share.values += values;
  share.bytes += bytes;
  report.parameters += values;
}

// Packed experts count as what they were packed from: their tensors are opaque bytes.
void add_types(const Checkpoint& checkpoint, ModelReport& report) {
  const std::optional<PackedExperts> packed = parse_packed_experts(checkpoint.metadata);
  std::set<std::string> packed_names;
  if (packed) {
    for (const auto& [block, layer] : packed->layers) {
      packed_names.insert({packed_tensor_name(block), packed_checksums_name(block)});
      for (const PackedPart& part : layer.parts) {
        const std::int64_t matrix = static_cast<std::int64_t>(source_matrix(part, nullptr).bytes());
        add_type(part.type, layer.experts * part.rows * part.cols, layer.experts * matrix, report);
      }
    }
  }
  for (const NamedTensor& named : checkpoint.tensors()) {
    const auto bytes = static_cast<std::int64_t>(named.tensor.bytes.size());
    report.bytes += bytes;
    if (!packed_names.contains(named.name)) add_type(named.tensor.type, named.tensor.values(), bytes, report);
  }
}

}  // namespace

ModelReport report_model(const Checkpoint& checkpoint, const Model& model) {
  ModelReport report;
  report.path = checkpoint.path;
  report.architecture = model.config.architecture;
  report.context = model.config.context_length;
  report.vocabulary = model.config.vocab_size;
  report.hidden_size = model.config.hidden_size;
  report.blocks = static_cast<std::int64_t>(model.config.blocks.size());
  add_types(checkpoint, report);
  report.always_read_bytes = static_cast<std::int64_t>(model.block_bytes + model.output.bytes());
  report.routed_bytes = static_cast<std::int64_t>(model.routed_bytes);
  add_layers(model, report);
  return report;
}

Json to_json(const ModelReport& report) {
  Json types = Json::object(), layers = Json::array();
  for (const auto& [name, share] : report.types) {
    types[name] = {{"tensors", share.tensors}, {"values", share.values}, {"bytes", share.bytes}};
  }
  for (const LayersReport& one : report.layers) layers.push_back(to_json(one));
  return {{"path", report.path},
          {"architecture", report.architecture},
          {"context", report.context},
          {"vocabulary", report.vocabulary},
          {"hidden_size", report.hidden_size},
          {"blocks", report.blocks},
          {"parameters", report.parameters},
          {"bytes", report.bytes},
          {"always_read_bytes", report.always_read_bytes},
          {"routed_bytes", report.routed_bytes},
          {"bytes_per_token", report.bytes_per_token},
          {"types", types},
          {"layers", layers}};
}

std::string format_parameters(std::int64_t count) {
  std::string text = format_quantity(static_cast<double>(count), "");
  while (text.ends_with(' ')) text.pop_back();
  std::erase(text, ' ');
  for (char& c : text) c = c == 'G' ? 'B' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string short_name(const ModelReport& report) {
  std::string most;
  std::int64_t values = -1;
  for (const auto& [name, share] : report.types) {
    if (share.values > values) most = name, values = share.values;
  }
  for (char& c : most) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  int experts = 0;
  for (const LayersReport& layers : report.layers) {
    for (const ExpertsReport& one : layers.experts) experts = std::max(experts, one.count);
  }
  const std::string mixture = experts > 0 ? " (" + std::to_string(experts) + " experts)" : "";
  return report.architecture + " " + format_parameters(report.parameters) + mixture + " " + most;
}

}  // namespace junto
