#include "model/stored_routing.h"

#include <charconv>
#include <cmath>
#include <string>
#include <string_view>

#include "base/error.h"
#include "moe/json_fields.h"
#include "moe/router_spec.h"

namespace junto {
namespace {

constexpr const char* kKey = "junto.router";
constexpr const char* kSharedExpert = "shared_expert";
constexpr const char* kOutputBias = "output_bias";
constexpr const char* kActivation = "activation";
constexpr const char* kSharedActivation = "shared_activation";
constexpr const char* kRounds = "rounds";
constexpr const char* kResidual = "residual";
constexpr const char* kRouterBack = "router_back";
constexpr const char* kNorms = "norms";
constexpr const char* kInputScale = "input_scale";
constexpr int kMostRoutersBack = 64;
constexpr std::string_view kKindNames[] = {"ffn", "zero", "copy", "constant"};

std::int64_t number_in(std::string_view text, std::int64_t below, const std::string& where, const char* what) {
  std::int64_t value = -1;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || value < 0 || value >= below) {
    fail(where, std::string(what) + " is " + printable(text) + ", expected 0.." + std::to_string(below - 1));
  }
  return value;
}

ExpertKind kind_named(const Json& name, const std::string& where) {
  for (std::size_t k = 0; k < std::size(kKindNames); ++k) {
    if (name.is_string() && name.get<std::string>() == kKindNames[k]) return static_cast<ExpertKind>(k);
  }
  fail(where, "kind is " + printable(name.dump()) + ", expected ffn, zero, copy or constant");
}

void apply_flag(const Json& layer, const char* key, const std::string& where, const BlockSpec& block, bool& flag) {
  const auto value = layer.find(key);
  if (value == layer.end()) return;
  if (!value->is_boolean() || !block.routed) fail(where, std::string(key) + " needs a routed layer and true or false");
  flag = value->get<bool>();
}

/// The value of a key that only routed layers have; null where it is absent.
const Json* rule_of(const Json& layer, const char* key, const std::string& where, const BlockSpec& block) {
  const auto value = layer.find(key);
  if (value == layer.end()) return nullptr;
  if (!block.routed) fail(where, std::string(key) + " needs a routed layer");
  return &*value;
}

BlockNorms norms_named(const Json& name, const std::string& where) {
  for (std::size_t n = 0; n < kBlockNormNames.size(); ++n) {
    if (name.is_string() && name.get<std::string>() == kBlockNormNames[n]) return static_cast<BlockNorms>(n);
  }
  fail(where, std::string(kNorms) + " is " + printable(name.dump()) + ", expected pre, post or post_twice");
}

/// What set_norms() made of a block; nothing where it did not.
std::optional<BlockNorms> norms_of(const BlockSpec& block) {
  for (const BlockNorms norms : {BlockNorms::kPre, BlockNorms::kPost, BlockNorms::kPostTwice}) {
    BlockSpec with = block;
    set_norms(with, norms);
    if (with.mixer_norm == block.mixer_norm && with.ffn_norm == block.ffn_norm) return norms;
  }
  return std::nullopt;
}

void apply_layer(const Json& layer, const std::string& where, BlockSpec& block) {
  if (!layer.is_object()) fail(where, "expected an object");
  for (const auto& [key, value] : layer.items()) {
    if (key == "router") {
      const RouterSpec router = parse_router_spec(value, where);
      make_routed(block, router);
    } else if (key != "kinds" && key != kSharedExpert && key != kOutputBias && key != kActivation &&
               key != kSharedActivation && key != kRounds && key != kResidual && key != kRouterBack && key != kNorms &&
               key != kInputScale) {
      fail(where, "unknown key " + printable(key) +
                      ", expected router, kinds, shared_expert, output_bias, activation, shared_activation, rounds, "
                      "residual, router_back, norms or input_scale");
    }
  }
  if (const auto activation = layer.find(kActivation); activation != layer.end()) {
    (block.routed ? block.moe.activation : block.ffn.activation) = parse_activation(*activation, where);
  }
  if (const Json* activation = rule_of(layer, kSharedActivation, where, block)) {
    block.moe.shared_activation = parse_activation(*activation, where);
  }
  if (const Json* rounds = rule_of(layer, kRounds, where, block)) block.moe.rounds = parse_rounds(*rounds, where);
  if (const Json* rule = rule_of(layer, kResidual, where, block))
    block.moe.residual = parse_residual_rule(*rule, where);
  if (const Json* back = rule_of(layer, kRouterBack, where, block)) {
    if (!back->is_number_integer() || *back < 0 || *back > kMostRoutersBack) {
      fail(where, std::string(kRouterBack) + " is " + printable(back->dump()) + ", expected 0.." +
                      std::to_string(kMostRoutersBack));
    }
    block.moe.router_back = back->get<int>();
  }
  if (const auto norms = layer.find(kNorms); norms != layer.end()) set_norms(block, norms_named(*norms, where));
  if (const Json* scale = rule_of(layer, kInputScale, where, block)) {
    if (!scale->is_number() || !(std::fabs(scale->get<double>()) <= 1e6)) {
      fail(where, std::string(kInputScale) + " is " + printable(scale->dump()) + ", expected a number in -1e6..1e6");
    }
    block.moe.input_scale = scale->get<float>();
  }
  if (block.moe.join_after > 0 && (block.moe.residual != ResidualRule(AddResidual()) || block.moe.rounds.count > 1)) {
    fail(where, "has rounds or a residual rule, expected none where experts join a block later");
  }
  if (block.moe.router_back > 0 && block.moe.rounds.count > 1) {
    fail(where, "router_back is set, expected 0 with several rounds");
  }
  apply_flag(layer, kSharedExpert, where, block, block.moe.shared_expert);
  apply_flag(layer, kOutputBias, where, block, block.moe.output_bias);
  const auto kinds = layer.find("kinds");
  if (kinds == layer.end()) return;
  if (!kinds->is_object() || !block.routed) fail(where, "kinds needs a routed layer and an object of expert: kind");
  for (const auto& [expert, kind] : kinds->items()) {
    block.moe.kinds[number_in(expert, block.moe.router.experts, where, "expert")] = kind_named(kind, where);
  }
}

}  // namespace

void apply_stored_routing(const Checkpoint& checkpoint, ModelConfig& config) {
  if (!checkpoint.metadata.find(kKey)) return;
  const std::string where = checkpoint.path + ": " + kKey;
  const Json stored = parse_json(checkpoint.metadata.required_string(kKey), where);
  if (!stored.is_object() || !stored.contains("version") || stored["version"] != 1) {
    fail(where,
         "version is " +
             (stored.is_object() && stored.contains("version") ? printable(stored["version"].dump()) : "missing") +
             ", expected 1");
  }
  for (const auto& [key, value] : stored.items()) {
    if (key == "version") continue;
    if (key != "layers" || !value.is_object()) fail(where, "unknown key " + printable(key) + ", expected layers");
    for (const auto& [layer, entry] : value.items()) {
      const auto index = number_in(layer, static_cast<std::int64_t>(config.blocks.size()), where, "layer");
      apply_layer(entry, where + ": layer " + layer, config.blocks[index]);
    }
  }
}

std::optional<Json> stored_routing(const ModelConfig& config, const ModelConfig& plain) {
  Json layers = Json::object();
  for (std::size_t b = 0; b < config.blocks.size(); ++b) {
    const BlockSpec& block = config.blocks[b];
    Json entry = Json::object();
    if (b < plain.blocks.size() &&
        (block.mixer_norm != plain.blocks[b].mixer_norm || block.ffn_norm != plain.blocks[b].ffn_norm)) {
      if (const auto norms = norms_of(block)) entry[kNorms] = kBlockNormNames[static_cast<std::size_t>(*norms)];
    }
    if (!block.routed) {
      if (b < plain.blocks.size() && block.ffn.activation != plain.blocks[b].ffn.activation)
        entry[kActivation] = to_json(block.ffn.activation);
      if (!entry.empty()) layers[std::to_string(b)] = std::move(entry);
      continue;
    }
    const bool known = b < plain.blocks.size() && plain.blocks[b].routed;
    if (!known || !(plain.blocks[b].moe.router == block.moe.router)) entry["router"] = to_json(block.moe.router);
    if (block.moe.shared_expert != (known && plain.blocks[b].moe.shared_expert)) {
      entry[kSharedExpert] = block.moe.shared_expert;
    }
    if (block.moe.output_bias != (known && plain.blocks[b].moe.output_bias)) {
      entry[kOutputBias] = block.moe.output_bias;
    }
    MoeSpec known_moe;
    known_moe.activation = block.ffn.activation;
    if (known) known_moe = plain.blocks[b].moe;
    if (block.moe.activation != known_moe.activation) entry[kActivation] = to_json(block.moe.activation);
    if (block.moe.shared_activation && block.moe.shared_activation != known_moe.shared_activation) {
      entry[kSharedActivation] = to_json(*block.moe.shared_activation);
    }
    if (block.moe.rounds != known_moe.rounds) entry[kRounds] = to_json(block.moe.rounds);
    if (block.moe.residual != known_moe.residual) entry[kResidual] = to_json(block.moe.residual);
    if (block.moe.router_back != known_moe.router_back) entry[kRouterBack] = block.moe.router_back;
    if (block.moe.input_scale != known_moe.input_scale) entry[kInputScale] = json_number(block.moe.input_scale);
    for (std::size_t e = 0; e < block.moe.kinds.size(); ++e) {
      const bool same =
          known && e < plain.blocks[b].moe.kinds.size() && plain.blocks[b].moe.kinds[e] == block.moe.kinds[e];
      if (!same && block.moe.kinds[e] != ExpertKind::kFfn) {
        entry["kinds"][std::to_string(e)] = kKindNames[static_cast<std::size_t>(block.moe.kinds[e])];
      }
    }
    if (!entry.empty()) layers[std::to_string(b)] = std::move(entry);
  }
  if (layers.empty()) return std::nullopt;
  return Json{{"version", 1}, {"layers", std::move(layers)}};
}

}  // namespace junto
