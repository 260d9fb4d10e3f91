#include "moe/router_spec.h"

#include <array>

#include "base/error.h"
#include "moe/json_fields.h"
#include "moe/select.h"

namespace junto {
namespace {

constexpr int kVersion = 1;
constexpr int kMaxExperts = 1 << 16;
constexpr float kLargest = 1e30f;

// Names in JSON, in the order of the enumerators.
constexpr std::array<std::string_view, 3> kLogitsKinds = {"linear", "cosine", "two_layer"};
constexpr std::array<std::string_view, 3> kScores = {"softmax", "sigmoid", "logit"};
constexpr std::array<std::string_view, 5> kWeighs = {"raw", "renormalised", "softmax_of_chosen", "softmax_of_all",
                                                     "constant"};
constexpr std::array<std::string_view, 2> kWeightOns = {"output", "input"};

template <class Enum, std::size_t N>
std::string_view name_of(const std::array<std::string_view, N>& names, Enum value) {
  return names[static_cast<std::size_t>(value)];
}

template <class Enum, std::size_t N>
void read(JsonFields& fields, std::string_view key, const std::array<std::string_view, N>& names, Enum& value) {
  if (const std::optional<std::size_t> index = fields.choice(key, names)) value = static_cast<Enum>(*index);
}

void read(JsonFields& fields, std::string_view key, float min, float& value) {
  value = fields.number(key, min, kLargest).value_or(value);
}

void put_unless_default(Json& json, std::string_view key, float value, float fallback) {
  if (value != fallback) json[std::string(key)] = json_number(value);
}

}  // namespace

int max_experts_per_unit(const RouterSpec& spec) {
  return max_chosen(spec.select, spec.experts);
}

Json to_json(const RouterSpec& spec) {
  const RouterSpec fallback;
  Json json = {{"version", spec.version},
               {"experts", spec.experts},
               {"score", name_of(kScores, spec.score)},
               {"select", to_json(spec.select)},
               {"weigh", name_of(kWeighs, spec.weigh)}};
  if (spec.logits != fallback.logits) json["logits"] = name_of(kLogitsKinds, spec.logits);
  put_unless_default(json, "logit_scale", spec.logit_scale, fallback.logit_scale);
  put_unless_default(json, "logit_softcap", spec.logit_softcap, fallback.logit_softcap);
  if (spec.selection_bias) json["selection_bias"] = true;
  put_unless_default(json, "renormalise_eps", spec.renormalise_eps, fallback.renormalise_eps);
  put_unless_default(json, "renormalise_min", spec.renormalise_min, fallback.renormalise_min);
  put_unless_default(json, "renormalise_p", spec.renormalise_p, fallback.renormalise_p);
  put_unless_default(json, "scale", spec.scale, fallback.scale);
  if (spec.weight_on != fallback.weight_on) json["weight_on"] = name_of(kWeightOns, spec.weight_on);
  return json;
}

RouterSpec parse_router_spec(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "router");
  RouterSpec spec;
  const Json* version = fields.any("version");
  if (version == nullptr || !version->is_number_integer() || *version != kVersion) {
    fields.fail_at("version", (version == nullptr ? "missing" : quoted(*version)) + ", this build reads version " +
                                  std::to_string(kVersion));
  }
  const std::optional<std::int64_t> experts = fields.integer("experts", 1, kMaxExperts);
  if (!experts) fields.fail_at("experts", "missing, expected 1.." + std::to_string(kMaxExperts));
  spec.experts = static_cast<int>(*experts);
  read(fields, "logits", kLogitsKinds, spec.logits);
  read(fields, "logit_scale", -kLargest, spec.logit_scale);
  read(fields, "logit_softcap", 0.0f, spec.logit_softcap);
  read(fields, "score", kScores, spec.score);
  spec.selection_bias = fields.boolean("selection_bias").value_or(false);
  if (const Json* rule = fields.any("select")) spec.select = parse_select_rule(*rule, spec.experts, where);
  read(fields, "weigh", kWeighs, spec.weigh);
  read(fields, "renormalise_eps", 0.0f, spec.renormalise_eps);
  read(fields, "renormalise_min", 0.0f, spec.renormalise_min);
  read(fields, "renormalise_p", 0.0f, spec.renormalise_p);
  read(fields, "scale", -kLargest, spec.scale);
  read(fields, "weight_on", kWeightOns, spec.weight_on);
  fields.finish();
  if (spec.renormalise_p == 0.0f) fields.fail_at("renormalise_p", "0, expected more than 0");
  if (std::holds_alternative<SparseMixer>(spec.select)) {
    // Its weights come from logits, round by round: other scores or another order would contradict them.
    if (spec.score != Score::kLogit)
      fields.fail_at("score", std::string(name_of(kScores, spec.score)) + ", expected \"logit\" with sparse_mixer");
    if (spec.selection_bias) fields.fail_at("selection_bias", "true, expected false with sparse_mixer");
    if (spec.weigh != Weigh::kRaw && spec.weigh != Weigh::kRenormalised) {
      fields.fail_at("weigh",
                     std::string(name_of(kWeighs, spec.weigh)) + ", expected raw or renormalised with sparse_mixer");
    }
  }
  return spec;
}

void check_router_spec(const RouterSpec& spec, std::string_view where) {
  if (parse_router_spec(to_json(spec), where) == spec) return;
  fail(where, "router: a value is not finite");  // the only values that JSON does not bring back
}

}  // namespace junto
