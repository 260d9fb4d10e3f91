#include "moe/select.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "moe/json_fields.h"

namespace junto {
namespace {

constexpr float kLargest = 1e30f;
constexpr std::array<std::string_view, 2> kGroupScores = {"max", "top_two_sum"};

int checked_k(JsonFields& fields, std::string_view key, int fallback, int min, int experts) {
  return static_cast<int>(fields.integer(key, min, experts).value_or(fallback));
}

SelectRule parse_top_k(JsonFields& fields, int experts) {
  return TopK{checked_k(fields, "k", 1, 1, experts)};
}

SelectRule parse_top_p(JsonFields& fields, int experts) {
  TopP rule;
  rule.p = fields.number("p", 0.0f, 1.0f).value_or(rule.p);
  rule.inclusive = fields.boolean("inclusive").value_or(rule.inclusive);
  rule.max_k = checked_k(fields, "max_k", 0, 0, experts);
  return rule;
}

SelectRule parse_threshold(JsonFields& fields, int experts) {
  Threshold rule;
  rule.threshold = fields.number("threshold", -kLargest, kLargest).value_or(rule.threshold);
  rule.min_k = checked_k(fields, "min_k", 0, 0, experts);
  rule.max_k = checked_k(fields, "max_k", 0, 0, experts);
  if (rule.max_k > 0 && rule.min_k > rule.max_k) {
    fields.fail_at("min_k", std::to_string(rule.min_k) + ", expected 0.." + std::to_string(rule.max_k) + " (max_k)");
  }
  return rule;
}

SelectRule parse_gap(JsonFields& fields, int experts) {
  return Gap{checked_k(fields, "max_k", std::min(4, experts), 1, experts)};
}

SelectRule parse_group_limited(JsonFields& fields, int experts) {
  GroupLimited rule;
  rule.groups = checked_k(fields, "groups", 1, 1, experts);
  if (experts % rule.groups != 0) {
    fields.fail_at("groups",
                   std::to_string(rule.groups) + ", expected a divisor of " + std::to_string(experts) + " experts");
  }
  rule.top_groups = checked_k(fields, "top_groups", 1, 1, rule.groups);
  rule.k = checked_k(fields, "k", 1, 1, experts / rule.groups * rule.top_groups);
  const std::size_t best_two = static_cast<std::size_t>(GroupLimited::GroupScore::kTopTwoSum);
  rule.group_score =
      static_cast<GroupLimited::GroupScore>(fields.choice("group_score", kGroupScores).value_or(best_two));
  return rule;
}

SelectRule parse_sparse_mixer(JsonFields& fields, int experts) {
  SparseMixer rule;
  rule.k = checked_k(fields, "k", std::min(rule.k, experts), 1, experts);
  rule.jitter_eps = fields.number("jitter_eps", 0.0f, kLargest).value_or(rule.jitter_eps);
  return rule;
}

Json fields_of(const TopK& rule) {
  return {{"k", rule.k}};
}
Json fields_of(const TopP& rule) {
  return {{"p", json_number(rule.p)}, {"inclusive", rule.inclusive}, {"max_k", rule.max_k}};
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
}};

constexpr auto kRuleNames = [] {
  std::array<std::string_view, kRules.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kRules[i].name;
  return names;
}();

/// The field that bounds a rule's choice; 0 in it means no bound.
int& bound_of(TopK& rule) {
  return rule.k;
}
int& bound_of(TopP& rule) {
  return rule.max_k;
}
int& bound_of(Threshold& rule) {
  return rule.max_k;
}
int& bound_of(Gap& rule) {
  return rule.max_k;
}
int& bound_of(GroupLimited& rule) {
  return rule.k;
}
int& bound_of(SparseMixer& rule) {
  return rule.k;
}

}  // namespace

void select(const SelectRule& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen) {
  std::visit([&](const auto& r) { select(r, unit, scratch, chosen); }, rule);
}

int max_chosen(const SelectRule& rule, int experts) {
  SelectRule copy = rule;
  const int bound = std::visit([](auto& r) { return bound_of(r); }, copy);
  return bound > 0 ? std::min(bound, experts) : experts;
}

SelectRule with_bound(SelectRule rule, int bound) {
  std::visit([&](auto& r) { bound_of(r) = bound; }, rule);
  if (auto* threshold = std::get_if<Threshold>(&rule)) threshold->min_k = std::min(threshold->min_k, bound);
  return rule;
}

Json to_json(const SelectRule& rule) {
  Json json = std::visit([](const auto& r) { return fields_of(r); }, rule);
  json["rule"] = kRules[rule.index()].name;
  return json;
}

SelectRule parse_select_rule(const Json& json, int experts, std::string_view where) {
  JsonFields fields(json, where, "router: select");
  const std::optional<std::size_t> index = fields.choice("rule", kRuleNames);
  if (!index) fields.fail_here("has no \"rule\"" + suggestion("", kRuleNames));
  const SelectRule rule = kRules[*index].parse(fields, experts);
  fields.finish();
  return rule;
}

}  // namespace junto
