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
constexpr std::array<std::string_view, 3> kEntropies = {"shannon", "tsallis", "renyi"};
constexpr std::array<std::string_view, 3> kPriorities = {"order", "choice", "weight"};
constexpr std::array<std::string_view, 2> kDrops = {"zero", "renormalise"};
constexpr std::array<std::string_view, 1> kPruneRules = {"capacity"};

template <class Enum, std::size_t N>
std::string_view name_of(const std::array<std::string_view, N>& names, Enum value) {
  return names[static_cast<std::size_t>(value)];
}

EntropyOverride parse_entropy_override(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "router: entropy_override");
  EntropyOverride rule;
  fields.read("kind", kEntropies, rule.kind, "The entropy of a token's scores");
  fields.read("order", 0.0f, 16.0f, rule.order, "Of tsallis and renyi: above 0");
  fields.read("threshold", 0.0f, 1.0f, rule.threshold, "Of the largest entropy there can be: above it, all experts");
  fields.read("eps", 0.0f, 1.0f, rule.eps, "Added to each probability");
  if (!fields.finish()) return rule;
  if (rule.order == 0.0f) fields.fail_at("order", "0, expected more than 0");
  return rule;
}

Json to_json(const EntropyOverride& rule) {
  return {{"kind", name_of(kEntropies, rule.kind)},
          {"order", json_number(rule.order)},
          {"threshold", json_number(rule.threshold)},
          {"eps", json_number(rule.eps)}};
}

constexpr std::string_view kSharesSchema =
    R"({"type": "array", "minItems": 1, "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e30}})";

std::vector<float> parse_shares(const Json& json, int experts, const JsonFields& fields) {
  const std::string expected = ", expected " + std::to_string(experts) + " numbers above 0";
  if (!json.is_array() || json.size() != static_cast<std::size_t>(experts)) {
    fields.fail_at("shares", (json.is_array() ? std::to_string(json.size()) + " values" : quoted(json)) + expected);
  }
  std::vector<float> shares;
  for (const Json& share : json) {
    const double value = share.is_number() ? share.get<double>() : 0.0;
    if (!(value > 0.0 && value <= static_cast<double>(kLargest)))
      fields.fail_at("shares", "with " + quoted(share) + expected);
    shares.push_back(static_cast<float>(value));
  }
  return shares;
}

Capacity parse_prune(const Json& json, int experts, std::string_view where) {
  JsonFields fields(json, where, "router: prune");
  Capacity rule;
  fields.variant("rule", kPruneRules, [&](std::size_t) {
    fields.read("factor", 0.0f, kLargest, rule.factor, "Rows an expert takes, as a multiple of the mean");
    fields.read("priority", kPriorities, rule.priority, "Who stays: earlier units, earlier choices, larger weights");
    fields.read("drop", kDrops, rule.drop, "What becomes of the weights of what stays");
    const Json* shares = fields.by_hand("shares", kSharesSchema, "Of the experts, relative; without: all alike");
    if (shares != nullptr) rule.shares = parse_shares(*shares, experts, fields);
  });
  fields.finish();
  return rule;
}

Json to_json(const Capacity& rule) {
  Json json = {{"rule", kPruneRules[0]},
               {"factor", json_number(rule.factor)},
               {"priority", name_of(kPriorities, rule.priority)},
               {"drop", name_of(kDrops, rule.drop)}};
  for (const float share : rule.shares) json["shares"].push_back(json_number(share));
  return json;
}

void put_unless_default(Json& json, std::string_view key, float value, float fallback) {
  if (value != fallback) json[std::string(key)] = json_number(value);
}

/// What no field can say by itself.
void check_stages(const RouterSpec& spec, const JsonFields& fields) {
  if ((spec.logits == LogitsKind::kTwoLayer) != (spec.logits_hidden > 0)) {
    fields.fail_at("logits_hidden",
                   (spec.logits_hidden > 0 ? std::to_string(spec.logits_hidden) : "missing") +
                       std::string(spec.logits_hidden > 0 ? ", expected it with" : ", expected it of") +
                       " two_layer logits");
  }
  if (spec.entropy_override &&
      (std::holds_alternative<SparseMixer>(spec.select) || std::holds_alternative<ExpertChoice>(spec.select))) {
    fields.fail_at("entropy_override", "set, expected a rule by which a unit chooses its experts");
  }
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
}

}  // namespace

int max_experts_per_unit(const RouterSpec& spec) {
  return spec.entropy_override ? spec.experts : max_chosen(spec.select, spec.experts);
}

Json to_json(const RouterSpec& spec) {
  const RouterSpec fallback;
  Json json = {{"version", spec.version},
               {"experts", spec.experts},
               {"score", name_of(kScores, spec.score)},
               {"select", to_json(spec.select)},
               {"weigh", name_of(kWeighs, spec.weigh)}};
  if (spec.logits != fallback.logits) json["logits"] = name_of(kLogitsKinds, spec.logits);
  if (spec.logits == LogitsKind::kTwoLayer) json["logits_hidden"] = spec.logits_hidden;
  if (spec.logit_residual) json["logit_residual"] = true;
  put_unless_default(json, "logit_deviation", spec.logit_deviation, fallback.logit_deviation);
  put_unless_default(json, "logit_scale", spec.logit_scale, fallback.logit_scale);
  put_unless_default(json, "logit_softcap", spec.logit_softcap, fallback.logit_softcap);
  if (spec.selection_bias) json["selection_bias"] = true;
  if (spec.weightless > 0) json["weightless"] = spec.weightless;
  put_unless_default(json, "renormalise_eps", spec.renormalise_eps, fallback.renormalise_eps);
  put_unless_default(json, "renormalise_min", spec.renormalise_min, fallback.renormalise_min);
  put_unless_default(json, "renormalise_p", spec.renormalise_p, fallback.renormalise_p);
  put_unless_default(json, "scale", spec.scale, fallback.scale);
  if (spec.weight_on != fallback.weight_on) json["weight_on"] = name_of(kWeightOns, spec.weight_on);
  if (spec.entropy_override) json["entropy_override"] = to_json(*spec.entropy_override);
  if (spec.prune) json["prune"] = to_json(*spec.prune);
  return json;
}

RouterSpec parse_router_spec(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "router");
  RouterSpec spec;
  fields.define("router");
  fields.version(kVersion);
  fields.required("experts", ", expected 1.." + std::to_string(kMaxExperts));
  // While a schema is recorded: as many as there may be, for the ranges below.
  spec.experts = static_cast<int>(
      fields.integer("experts", 1, kMaxExperts, "Experts of a layer, free ones included").value_or(kMaxExperts));
  fields.read("logits", kLogitsKinds, spec.logits, "How logits come from what the router reads");
  if (const auto hidden = fields.integer("logits_hidden", 1, kMaxExperts, "Width of two_layer logits"))
    spec.logits_hidden = static_cast<int>(*hidden);
  fields.read("logit_residual", spec.logit_residual, "The routing below adds to the logits (MoE++)");
  fields.read("logit_deviation", 0.0f, kLargest, spec.logit_deviation,
              "A token's logits are scaled to this standard deviation; 0: they are not (MoE++)");
  fields.read("logit_scale", -kLargest, kLargest, spec.logit_scale, "Of cosine logits: one over the temperature");
  fields.read("logit_softcap", 0.0f, kLargest, spec.logit_softcap, "c tanh(logit / c); 0: none");
  fields.read("score", kScores, spec.score, "Scores of the experts, which select and weigh");
  fields.read("selection_bias", spec.selection_bias,
              "A stored bias joins the scores that select, not those that weigh");
  if (const Json* rule = fields.any("select", "Which experts a unit gets; without: the best one"))
    spec.select = parse_select_rule(*rule, spec.experts, where);
  fields.read("weigh", kWeighs, spec.weigh, "Weights of the chosen experts");
  fields.read("weightless", 0, spec.experts, spec.weightless,
              "Of the last so many experts weights are 0, before they are renormalised (released code of MoE++)");
  fields.read("renormalise_eps", 0.0f, kLargest, spec.renormalise_eps, "Added to the norm that weights are divided by");
  fields.read("renormalise_min", 0.0f, kLargest, spec.renormalise_min, "The least that weights are divided by");
  fields.read("renormalise_p", 0.0f, kLargest, spec.renormalise_p, "Which norm: 1 is the sum; above 0");
  fields.read("scale", -kLargest, kLargest, spec.scale, "Of all weights, after renormalisation");
  fields.read("weight_on", kWeightOns, spec.weight_on, "Where a weight multiplies");
  if (const Json* rule = fields.any("entropy_override", "Unsure tokens get all experts (DynMoLE)"))
    spec.entropy_override = parse_entropy_override(*rule, where);
  if (const Json* rule = fields.any("prune", "Capacity of the experts, in training"))
    spec.prune = parse_prune(*rule, spec.experts, where);
  if (!fields.finish()) return spec;
  check_stages(spec, fields);
  return spec;
}

void check_router_spec(const RouterSpec& spec, std::string_view where) {
  if (parse_router_spec(to_json(spec), where) == spec) return;
  fail(where, "router: a value is not finite");  // the only values that JSON does not bring back
}

}  // namespace junto
