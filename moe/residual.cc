#include "moe/residual.h"

#include <array>
#include <cmath>
#include <cstddef>

#include "moe/json_fields.h"

namespace junto {
namespace {

constexpr float kLargestFactor = 1e6f;

ResidualRule parse_add(JsonFields& fields) {
  AddResidual rule;
  fields.read("factor", -kLargestFactor, kLargestFactor, rule.factor, "x += factor * f");
  return rule;
}

ResidualRule parse_heavy_ball(JsonFields& fields) {
  HeavyBall rule;
  fields.read("mu", -1.0f, 1.0f, rule.mu, "m = mu * m + gamma * f; x += m");
  fields.read("gamma", -kLargestFactor, kLargestFactor, rule.gamma, "Factor of what the layer computes");
  fields.read("look_ahead", -kLargestFactor, kLargestFactor, rule.look_ahead, "The layer reads x + look_ahead * m");
  return rule;
}

ResidualRule parse_adam_like(JsonFields& fields) {
  AdamLike rule;
  fields.read("beta1", 0.0f, 1.0f, rule.beta1, "p = beta1 * p + (1 - beta1) * f");
  fields.read("beta2", 0.0f, 1.0f, rule.beta2, "v = beta2 * v + (1 - beta2) * f^2");
  fields.read("gamma", -kLargestFactor, kLargestFactor, rule.gamma, "x = (1 - decay) * x + gamma * p / sqrt(v + eps)");
  fields.read("eps", 1e-30f, 1.0f, rule.eps, "Beside v under the root");
  fields.read("decay", 0.0f, 1.0f, rule.decay, "Of the stream");
  fields.read("mu", -1.0f, 1.0f, rule.mu, "m = mu * m + momentum_gamma * f, for layers of heavy ball above");
  fields.read("momentum_gamma", -kLargestFactor, kLargestFactor, rule.momentum_gamma, "See mu");
  return rule;
}

ResidualRule parse_restart(JsonFields&) {
  return Restart();
}

Json fields_of(const AddResidual& rule) {
  return {{"factor", json_number(rule.factor)}};
}
Json fields_of(const HeavyBall& rule) {
  return {
      {"mu", json_number(rule.mu)}, {"gamma", json_number(rule.gamma)}, {"look_ahead", json_number(rule.look_ahead)}};
}
Json fields_of(const AdamLike& rule) {
  return {{"beta1", json_number(rule.beta1)},
          {"beta2", json_number(rule.beta2)},
          {"gamma", json_number(rule.gamma)},
          {"eps", json_number(rule.eps)},
          {"decay", json_number(rule.decay)},
          {"mu", json_number(rule.mu)},
          {"momentum_gamma", json_number(rule.momentum_gamma)}};
}
Json fields_of(const Restart&) {
  return Json::object();
}

/// The table of rules, in the order of ResidualRule's alternatives.
struct ResidualRow {
  std::string_view name;
  ResidualRule (*parse)(JsonFields& fields);
};
constexpr std::array<ResidualRow, std::variant_size_v<ResidualRule>> kResidualRules = {{
    {"add", parse_add},
    {"heavy_ball", parse_heavy_ball},
    {"adam_like", parse_adam_like},
    {"restart", parse_restart},
}};

constexpr auto kResidualRuleNames = [] {
  std::array<std::string_view, kResidualRules.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kResidualRules[i].name;
  return names;
}();

void join(const AddResidual& rule, std::span<const float> f, std::span<const float>, const Moments&,
          std::span<float> x) {
  for (std::size_t d = 0; d < x.size(); ++d) x[d] += rule.factor * f[d];
}

void join(const HeavyBall& rule, std::span<const float> f, std::span<const float>, const Moments& moments,
          std::span<float> x) {
  for (std::size_t d = 0; d < x.size(); ++d) {
    moments.m[d] = rule.mu * moments.m[d] + rule.gamma * f[d];
    x[d] += moments.m[d];
  }
}

void join(const AdamLike& rule, std::span<const float> f, std::span<const float>, const Moments& moments,
          std::span<float> x) {
  for (std::size_t d = 0; d < x.size(); ++d) {
    moments.m[d] = rule.mu * moments.m[d] + rule.momentum_gamma * f[d];
    moments.p[d] = rule.beta1 * moments.p[d] + (1.0f - rule.beta1) * f[d];
    moments.v[d] = rule.beta2 * moments.v[d] + (1.0f - rule.beta2) * f[d] * f[d];
    x[d] = (1.0f - rule.decay) * x[d] + rule.gamma * moments.p[d] / std::sqrt(moments.v[d] + rule.eps);
  }
}

void join(const Restart&, std::span<const float> f, std::span<const float> read, const Moments&, std::span<float> x) {
  for (std::size_t d = 0; d < x.size(); ++d) x[d] = read[d] + f[d];
}

}  // namespace

bool carries_moments(const ResidualRule& rule) {
  return std::holds_alternative<HeavyBall>(rule) || std::holds_alternative<AdamLike>(rule);
}

void join_residual(const ResidualRule& rule, std::span<const float> f, std::span<const float> read,
                   const Moments& moments, std::span<float> x) {
  std::visit([&](const auto& r) { join(r, f, read, moments, x); }, rule);
}

Json to_json(const ResidualRule& rule) {
  Json json = std::visit([](const auto& r) { return fields_of(r); }, rule);
  json["rule"] = kResidualRules[rule.index()].name;
  return json;
}

ResidualRule parse_residual_rule(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "residual");
  fields.define("residual");
  ResidualRule rule;
  fields.variant("rule", kResidualRuleNames, [&](std::size_t index) { rule = kResidualRules[index].parse(fields); });
  fields.finish();
  return rule;
}

}  // namespace junto
