#include "moe/select.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "moe/json_fields.h"

namespace junto {
namespace {

constexpr float kLargestBound = 1e30f;
constexpr std::int64_t kMostSeed = std::int64_t{1} << 53;
constexpr std::array<std::string_view, 2> kGroupScores = {"max", "top_two_sum"};
constexpr std::array<std::string_view, 2> kKeys = {"token", "class"};

SelectRule parse_top_k(JsonFields& fields, int experts) {
  TopK rule;
  fields.read("k", 1, experts, rule.k, "Experts of a unit");
  return rule;
}

SelectRule parse_top_p(JsonFields& fields, int experts) {
  TopP rule;
  fields.read("p", 0.0f, 1.0f, rule.p, "The share of all scores that the chosen have together");
  fields.read("inclusive", rule.inclusive, "With the expert whose score crosses p");
  fields.read("strict", rule.strict, "Until the chosen have more than p; else p is enough");
  fields.read("max_k", 0, experts, rule.max_k, "At most so many; 0: no bound");
  fields.read("min_k", 0, rule.max_k > 0 ? rule.max_k : experts, rule.min_k, "The best so many in any case");
  return rule;
}

SelectRule parse_threshold(JsonFields& fields, int experts) {
  Threshold rule;
  fields.read("threshold", -kLargestBound, kLargestBound, rule.threshold, "The least score of a chosen expert");
  fields.read("min_k", 0, experts, rule.min_k, "The best so many in any case");
  fields.read("max_k", 0, experts, rule.max_k, "At most so many; 0: no bound");
  if (rule.max_k > 0 && rule.min_k > rule.max_k) {
    fields.fail_at("min_k", std::to_string(rule.min_k) + ", expected 0.." + std::to_string(rule.max_k) + " (max_k)");
  }
  return rule;
}

SelectRule parse_gap(JsonFields& fields, int experts) {
  Gap rule{.max_k = std::min(4, experts)};
  fields.read("max_k", 1, experts, rule.max_k, "At most so many, above the largest drop between scores");
  return rule;
}

SelectRule parse_group_limited(JsonFields& fields, int experts) {
  GroupLimited rule;
  fields.read("groups", 1, experts, rule.groups, "Equal groups of experts");
  if (experts % rule.groups != 0) {
    fields.fail_at("groups",
                   std::to_string(rule.groups) + ", expected a divisor of " + std::to_string(experts) + " experts");
  }
  const bool any = fields.recording();  // then the range of all specs, not of one
  fields.read("top_groups", 1, any ? experts : rule.groups, rule.top_groups, "Groups that a unit may choose from");
  fields.read("k", 1, any ? experts : experts / rule.groups * rule.top_groups, rule.k, "Experts of a unit");
  fields.read("group_score", kGroupScores, rule.group_score, "What makes a group the best");
  return rule;
}

SelectRule parse_sparse_mixer(JsonFields& fields, int experts) {
  SparseMixer rule;
  rule.k = std::min(rule.k, experts);
  fields.read("k", 1, experts, rule.k, "Experts of a unit");
  fields.read("jitter_eps", 0.0f, kLargestBound, rule.jitter_eps, "Logits so near the best share its softmax");
  return rule;
}

SelectRule parse_margin(JsonFields& fields, int experts) {
  Margin rule;
  fields.read("margin", 0.0f, kLargestBound, rule.margin, "Experts whose score is so near the best one's");
  rule.max_k = std::min(rule.max_k, experts);
  fields.read("max_k", 1, experts, rule.max_k, "At most so many");
  fields.read("of_pair", rule.of_pair, "The distance as a share of the sum of both scores");
  return rule;
}

std::vector<std::int32_t> parse_experts(const Json& json, int experts, const JsonFields& fields) {
  std::vector<std::int32_t> ids;
  const auto refuse = [&](const Json& found) {
    fields.fail_at("experts_of_key", "an array with " + quoted(found) + ", expected arrays of different experts 0.." +
                                         std::to_string(experts - 1));
  };
  if (!json.is_array()) refuse(json);
  for (const Json& id : json) {
    if (!id.is_number_integer() || id < 0 || id >= experts) refuse(id);
    ids.push_back(id.get<std::int32_t>());
    if (std::find(ids.begin(), ids.end() - 1, ids.back()) != ids.end() - 1) refuse(id);
  }
  return ids;
}

SelectRule parse_given(JsonFields& fields, int experts) {
  constexpr std::string_view kSchema = R"({"type": "array", "items": {"type": "array", "uniqueItems": true,
                                           "items": {"type": "integer", "minimum": 0, "maximum": 65535}}})";
  Given rule;
  fields.read("key", kKeys, rule.key, "What a unit is known by");
  fields.read("k", 1, experts, rule.k, "Experts by hash of key and seed");
  fields.read("seed", 0, kMostSeed, rule.seed, "Of the hash");
  if (const Json* table = fields.by_hand("experts_of_key", kSchema, "Experts of each key, in place of a hash")) {
    if (!table->is_array()) fields.fail_at("experts_of_key", quoted(*table) + ", expected an array");
    for (const Json& row : *table) rule.experts_of_key.push_back(parse_experts(row, experts, fields));
  }
  return rule;
}

SelectRule parse_expert_choice(JsonFields& fields, int experts) {
  ExpertChoice rule;
  fields.read("factor", 0.0f, static_cast<float>(experts), rule.factor, "Mean experts of a unit");
  return rule;
}

Json fields_of(const TopK& rule) {
  return {{"k", rule.k}};
}
Json fields_of(const TopP& rule) {
  Json json = {{"p", json_number(rule.p)}, {"inclusive", rule.inclusive}, {"max_k", rule.max_k}};
  if (rule.min_k > 0) json["min_k"] = rule.min_k;
  if (rule.strict) json["strict"] = true;
  return json;
}
Json fields_of(const Threshold& rule) {
  return {{"threshold", json_number(rule.threshold)}, {"min_k", rule.min_k}, {"max_k", rule.max_k}};
}
Json fields_of(const Gap& rule) {
  return {{"max_k", rule.max_k}};
}
Json fields_of(const GroupLimited& rule) {
  return {{"k", rule.k},
          {"groups", rule.groups},
          {"top_groups", rule.top_groups},
          {"group_score", kGroupScores[static_cast<std::size_t>(rule.group_score)]}};
}
Json fields_of(const SparseMixer& rule) {
  return {{"k", rule.k}, {"jitter_eps", json_number(rule.jitter_eps)}};
}
Json fields_of(const Margin& rule) {
  return {{"margin", json_number(rule.margin)}, {"max_k", rule.max_k}, {"of_pair", rule.of_pair}};
}
Json fields_of(const Given& rule) {
  Json json = {{"key", kKeys[static_cast<std::size_t>(rule.key)]}, {"k", rule.k}, {"seed", rule.seed}};
  if (!rule.experts_of_key.empty()) json["experts_of_key"] = rule.experts_of_key;
  return json;
}
Json fields_of(const ExpertChoice& rule) {
  return {{"factor", json_number(rule.factor)}};
}

/// The table of rules, in the order of SelectRule's alternatives.
struct Row {
  std::string_view name;
  SelectRule (*parse)(JsonFields& fields, int experts);
};
constexpr std::array<Row, std::variant_size_v<SelectRule>> kRules = {{
    {"top_k", parse_top_k},
    {"top_p", parse_top_p},
    {"threshold", parse_threshold},
    {"gap", parse_gap},
    {"group_limited", parse_group_limited},
    {"sparse_mixer", parse_sparse_mixer},
    {"margin", parse_margin},
    {"given", parse_given},
    {"expert_choice", parse_expert_choice},
}};

constexpr auto kRuleNames = [] {
  std::array<std::string_view, kRules.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kRules[i].name;
  return names;
}();

/// The field that bounds a rule's choice; 0 in it means no bound. Null where the rule has none.
template <class Rule>
auto* bound_of(Rule& rule) {
  if constexpr (requires { rule.max_k; }) {
    return &rule.max_k;
  } else if constexpr (requires { rule.k; }) {
    return &rule.k;
  } else {
    return static_cast<std::conditional_t<std::is_const_v<Rule>, const int*, int*>>(nullptr);
  }
}

}  // namespace

void select(const SelectRule& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen) {
  std::visit([&](const auto& r) { select(r, unit, scratch, chosen); }, rule);
}

int max_chosen(const SelectRule& rule, int experts) {
  if (const auto* given = std::get_if<Given>(&rule); given != nullptr && !given->experts_of_key.empty()) {
    std::size_t most = 0;
    for (const auto& ids : given->experts_of_key) most = std::max(most, ids.size());
    return static_cast<int>(most);
  }
  const int bound = std::visit(
      [](const auto& r) {
        const int* field = bound_of(r);
        return field == nullptr ? 0 : *field;
      },
      rule);
  return bound > 0 ? std::min(bound, experts) : experts;
}

SelectRule with_bound(SelectRule rule, int bound) {
  if (std::holds_alternative<ExpertChoice>(rule)) return TopK{bound};
  std::visit(
      [&](auto& r) {
        if (int* field = bound_of(r)) *field = bound;
        if constexpr (requires { r.min_k; }) r.min_k = std::min(r.min_k, bound);
      },
      rule);
  if (auto* given = std::get_if<Given>(&rule)) {
    for (auto& ids : given->experts_of_key) ids.resize(std::min(ids.size(), static_cast<std::size_t>(bound)));
  }
  return rule;
}

Json to_json(const SelectRule& rule) {
  Json json = std::visit([](const auto& r) { return fields_of(r); }, rule);
  json["rule"] = kRules[rule.index()].name;
  return json;
}

SelectRule parse_select_rule(const Json& json, int experts, std::string_view where) {
  JsonFields fields(json, where, "router: select");
  fields.define("select");
  SelectRule rule;
  fields.variant("rule", kRuleNames, [&](std::size_t index) { rule = kRules[index].parse(fields, experts); });
  fields.finish();
  return rule;
}

}  // namespace junto
