#include "model/stored_routing.h"

#include <charconv>
#include <string>
#include <string_view>

#include "base/error.h"
#include "moe/router_spec.h"

namespace junto {
namespace {

constexpr const char* kKey = "junto.router";
constexpr const char* kSharedExpert = "shared_expert";
constexpr const char* kOutputBias = "output_bias";
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

void apply_layer(const Json& layer, const std::string& where, BlockSpec& block) {
  if (!layer.is_object()) fail(where, "expected an object");
  for (const auto& [key, value] : layer.items()) {
    if (key == "router") {
      const RouterSpec router = parse_router_spec(value, where);
      make_routed(block, router);
    } else if (key != "kinds" && key != kSharedExpert && key != kOutputBias) {
      fail(where, "unknown key " + printable(key) + ", expected router, kinds, shared_expert or output_bias");
    }
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
    if (!block.routed) continue;
    const bool known = b < plain.blocks.size() && plain.blocks[b].routed;
    Json entry = Json::object();
    if (!known || !(plain.blocks[b].moe.router == block.moe.router)) entry["router"] = to_json(block.moe.router);
    if (block.moe.shared_expert != (known && plain.blocks[b].moe.shared_expert)) {
      entry[kSharedExpert] = block.moe.shared_expert;
    }
    if (block.moe.output_bias != (known && plain.blocks[b].moe.output_bias)) {
      entry[kOutputBias] = block.moe.output_bias;
    }
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
