#include "moe/routing_policy.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "base/error.h"
#include "moe/json_fields.h"

namespace junto {
namespace {

constexpr int kMaxId = (1 << 16) - 1;  // of layers and experts: bounds what a range expands to
constexpr float kLargestValue = 1e30f;

struct IdRange {
  int first = 0;
  int last = 0;
};

std::optional<int> parse_id(std::string_view text) {
  int id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0 || id > kMaxId) return std::nullopt;
  return id;
}

/// "4" or "4-7"; nothing where it is neither, or descends.
std::optional<IdRange> parse_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const std::optional<int> first = parse_id(text.substr(0, dash));
  const std::optional<int> last = dash == std::string_view::npos ? first : parse_id(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return IdRange{*first, *last};
}

void sort_unique(std::vector<std::int32_t>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

void read_mask(JsonFields& fields, LayerPolicy& policy) {
  const Json* mask = fields.any("mask");
  if (mask == nullptr) return;
  if (!mask->is_array()) fields.fail_at("mask", quoted(*mask) + ", expected an array of \"!3\" (never) and 3 (only)");
  std::size_t expanded = 0;
  for (const Json& entry : *mask) {
    const bool is_text = entry.is_string();
    std::string text = is_text ? entry.get<std::string>() : entry.dump();
    const bool forbids = is_text && text.starts_with('!');
    const std::optional<IdRange> range = parse_range(std::string_view(text).substr(forbids ? 1 : 0));
    if (!range || !(is_text || entry.is_number_integer())) {
      fields.fail_at("mask entry", quoted(entry) + ", expected an expert as 3, \"3\", \"!3\" or \"!3-7\"");
    }
    expanded += range->last - range->first + 1;
    if (expanded > 2 * static_cast<std::size_t>(kMaxId + 1)) fields.fail_here("mask names experts too often");
    std::vector<std::int32_t>& ids = forbids ? policy.forbidden : policy.allowed;
    for (int id = range->first; id <= range->last; ++id) ids.push_back(id);
  }
  sort_unique(policy.forbidden);
  sort_unique(policy.allowed);
}

void read_offsets(JsonFields& fields, LayerPolicy& policy) {
  const Json* offsets = fields.any("offsets");
  if (offsets == nullptr) return;
  JsonFields entries(*offsets, fields.where(), fields.path() + ": offsets");
  for (const auto& item : offsets->items()) {
    const std::optional<int> id = parse_id(item.key());
    if (!id) entries.fail_here("\"" + printable(item.key()) + "\" is no expert, expected 0.." + std::to_string(kMaxId));
    policy.offsets.emplace_back(*id, *entries.number(item.key(), -kLargestValue, kLargestValue));
  }
  std::sort(policy.offsets.begin(), policy.offsets.end());
  for (std::size_t i = 1; i < policy.offsets.size(); ++i) {
    const int id = policy.offsets[i].first;
    if (policy.offsets[i - 1].first == id) entries.fail_here("expert " + std::to_string(id) + " is named twice");
  }
}

LayerPolicy read_layer(JsonFields& fields) {
  LayerPolicy policy;
  if (const auto k = fields.integer("top_k", 1, kMaxId + 1)) policy.top_k = static_cast<int>(*k);
  policy.top_p = fields.number("top_p", 0.0f, 1.0f);
  policy.threshold = fields.number("threshold", -kLargestValue, kLargestValue);
  if (const auto k = fields.integer("max_experts", 1, kMaxId + 1)) policy.max_experts = static_cast<int>(*k);
  policy.renormalise = fields.boolean("renormalise");
  read_mask(fields, policy);
  read_offsets(fields, policy);
  policy.prefer_resident = fields.number("prefer_resident", 0.0f, kLargestValue);
  policy.skip_late = fields.boolean("skip_late");
  if (policy.top_p && policy.threshold) fields.fail_here("top_p and threshold are both given, expected one of them");
  return policy;
}

bool has_mask(const LayerPolicy& policy) {
  return !policy.forbidden.empty() || !policy.allowed.empty();
}

/// Fields of `over` replace those of `base`.
LayerPolicy overlay(LayerPolicy base, const LayerPolicy& over) {
  if (over.top_k) base.top_k = over.top_k;
  if (over.top_p || over.threshold) {
    base.top_p = over.top_p;
    base.threshold = over.threshold;
  }
  if (over.max_experts) base.max_experts = over.max_experts;
  if (over.renormalise) base.renormalise = over.renormalise;
  if (has_mask(over)) {
    base.forbidden = over.forbidden;
    base.allowed = over.allowed;
  }
  if (!over.offsets.empty()) base.offsets = over.offsets;
  if (over.prefer_resident) base.prefer_resident = over.prefer_resident;
  if (over.skip_late) base.skip_late = over.skip_late;
  return base;
}

/// The first key that both set, or an empty view. top_p and threshold are one choice.
std::string_view common_key(const LayerPolicy& a, const LayerPolicy& b) {
  if (a.top_k && b.top_k) return "top_k";
  if ((a.top_p || a.threshold) && (b.top_p || b.threshold)) return a.top_p ? "top_p" : "threshold";
  if (a.max_experts && b.max_experts) return "max_experts";
  if (a.renormalise && b.renormalise) return "renormalise";
  if (has_mask(a) && has_mask(b)) return "mask";
  if (a.prefer_resident && b.prefer_resident) return "prefer_resident";
  if (a.skip_late && b.skip_late) return "skip_late";
  return !a.offsets.empty() && !b.offsets.empty() ? "offsets" : "";
}

Json fields_of(const LayerPolicy& policy) {
  Json json = Json::object();
  if (policy.top_k) json["top_k"] = *policy.top_k;
  if (policy.top_p) json["top_p"] = json_number(*policy.top_p);
  if (policy.threshold) json["threshold"] = json_number(*policy.threshold);
  if (policy.max_experts) json["max_experts"] = *policy.max_experts;
  if (policy.renormalise) json["renormalise"] = *policy.renormalise;
  for (const std::int32_t id : policy.forbidden) json["mask"].push_back("!" + std::to_string(id));
  for (const std::int32_t id : policy.allowed) json["mask"].push_back(id);
  for (const auto& [id, offset] : policy.offsets) json["offsets"][std::to_string(id)] = json_number(offset);
  if (policy.prefer_resident) json["prefer_resident"] = json_number(*policy.prefer_resident);
  if (policy.skip_late) json["skip_late"] = *policy.skip_late;
  return json;
}

}  // namespace

bool LayerPolicy::empty() const {
  return *this == LayerPolicy();
}

LayerPolicy RoutingPolicy::for_layer(int layer) const {
  const auto it = layers.find(layer);
  return it == layers.end() ? all : overlay(all, it->second);
}

void add_layer_policy(std::string_view range_text, const Json& json, std::string_view where, RoutingPolicy& policy) {
  const std::string path = "policy: layers " + printable(range_text);
  const std::optional<IdRange> range = parse_range(range_text);
  if (!range) fail(where, path + ": expected a block number or a range as 4-7");
  JsonFields fields(json, where, path);
  const LayerPolicy layer_policy = read_layer(fields);
  fields.finish();
  if (layer_policy.empty()) return;
  for (int layer = range->first; layer <= range->last; ++layer) {
    LayerPolicy& target = policy.layers[layer];
    const std::string_view twice = common_key(target, layer_policy);
    if (!twice.empty()) fields.fail_here(std::string(twice) + " of layer " + std::to_string(layer) + " is given twice");
    target = overlay(target, layer_policy);
  }
}

RoutingPolicy routing_policy_from_json(const Json& json, std::string_view where) {
  RoutingPolicy policy;
  JsonFields fields(json, where, "policy");
  policy.all = read_layer(fields);
  if (const Json* layers = fields.any("layers")) {
    if (!layers->is_object()) fields.fail_at("layers", quoted(*layers) + ", expected an object");
    for (const auto& item : layers->items()) add_layer_policy(item.key(), item.value(), where, policy);
  }
  fields.finish();
  return policy;
}

Json to_json(const RoutingPolicy& policy) {
  Json json = fields_of(policy.all);
  for (auto it = policy.layers.begin(); it != policy.layers.end();) {
    const int first = it->first;
    const LayerPolicy& same = it->second;
    int last = first;
    for (++it; it != policy.layers.end() && it->first == last + 1 && it->second == same; ++it) ++last;
    std::string key = std::to_string(first);
    if (last > first) key.append(1, '-').append(std::to_string(last));
    json["layers"][key] = fields_of(same);
  }
  return json;
}

namespace {

void check_ids(const LayerPolicy& policy, int experts, const std::string& path, std::string_view where) {
  const auto check = [&](std::string_view key, int id) {
    if (id < experts) return;
    fail(where, path + ": " + std::string(key) + " names expert " + std::to_string(id) + ", expected 0.." +
                    std::to_string(experts - 1));
  };
  for (const std::int32_t id : policy.forbidden) check("mask", id);
  for (const std::int32_t id : policy.allowed) check("mask", id);
  for (const auto& entry : policy.offsets) check("offsets", entry.first);
  for (const auto& [key, value] : {std::pair("top_k", policy.top_k), std::pair("max_experts", policy.max_experts)}) {
    if (!value || *value <= experts) continue;
    fail(where, path + ": " + key + " is " + std::to_string(*value) + ", expected 1.." + std::to_string(experts));
  }
}

}  // namespace

void check_policy(const RoutingPolicy& policy, const std::vector<int>& experts_of_layer, std::string_view where) {
  if (policy.empty()) return;
  const int most = experts_of_layer.empty() ? 0 : *std::max_element(experts_of_layer.begin(), experts_of_layer.end());
  if (most == 0) fail(where, "policy: the model has no routed experts");
  check_ids(policy.all, most, "policy", where);
  for (const auto& [layer, layer_policy] : policy.layers) {
    const std::string path = "policy: layer " + std::to_string(layer);
    if (layer >= static_cast<int>(experts_of_layer.size())) {
      fail(where, path + ": the model has layers 0.." + std::to_string(experts_of_layer.size() - 1));
    }
    if (experts_of_layer[layer] == 0) fail(where, path + ": this block is dense, it has no routed experts");
    check_ids(layer_policy, experts_of_layer[layer], path, where);
  }
}

void check_policy_of_resident_experts(const RoutingPolicy& policy, std::string_view where) {
  const auto check = [&](const LayerPolicy& layer) {
    const char* const choice = layer.prefer_resident ? "prefer_resident" : layer.skip_late ? "skip_late" : nullptr;
    if (choice == nullptr) return;
    fail(where, std::string("policy: ") + choice +
                    " is for experts that are streamed (--expert-memory); those of this model are in memory");
  };
  check(policy.all);
  for (const auto& entry : policy.layers) check(entry.second);
}

}  // namespace junto
