#include "moe/residual.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/error.h"
#include "moe/rounds.h"

namespace junto {
namespace {

/// A row through `layers` layers of one rule, by the papers' recursions, in double.
std::vector<double> naive(const ResidualRule& rule, const std::vector<std::vector<float>>& f, double x) {
  double m = 0.0, p = 0.0, v = 0.0;
  std::vector<double> after;
  for (const auto& layer : f) {
    const double given = layer[0];
    if (const auto* r = std::get_if<AddResidual>(&rule)) x += r->factor * given;
    if (const auto* r = std::get_if<HeavyBall>(&rule)) {
      m = static_cast<double>(r->mu) * m + static_cast<double>(r->gamma) * given;
      x = x + m;
    }
    if (const auto* r = std::get_if<AdamLike>(&rule)) {
      p = static_cast<double>(r->beta1) * p + (1.0 - static_cast<double>(r->beta1)) * given;
      v = static_cast<double>(r->beta2) * v + (1.0 - static_cast<double>(r->beta2)) * given * given;
      x = x - static_cast<double>(r->decay) * x +
          static_cast<double>(r->gamma) * p / std::sqrt(v + static_cast<double>(r->eps));
    }
    if (std::holds_alternative<Restart>(rule)) x = 0.25 + given;
    after.push_back(x);
  }
  return after;
}

const std::vector<ResidualRule> kSome = {AddResidual{},
                                         AddResidual{-1.0f},
                                         HeavyBall{0.7f, -1.0f, 0.1f},
                                         AdamLike{0.9f, 0.99f, 0.8f, 1e-4f, 0.0f, 0.5f, 1.0f},
                                         AdamLike{.gamma = -1.0f, .decay = 1.0f},
                                         Restart{}};

TEST(Residual, RulesAreTheirRecursions) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const ResidualRule& rule : kSome) {
    std::vector<std::vector<float>> f(5);
    for (auto& layer : f) layer = {normal(random)};
    float m = 0.0f, p = 0.0f, v = 0.0f, x = 0.5f;
    const float read = 0.25f;
    const std::vector<double> expected = naive(rule, f, x);
    for (std::size_t layer = 0; layer < f.size(); ++layer) {
      join_residual(rule, f[layer], {&read, 1}, {.m = {&m, 1}, .p = {&p, 1}, .v = {&v, 1}}, {&x, 1});
      EXPECT_NEAR(x, expected[layer], 1e-5 * std::max(1.0, std::fabs(expected[layer]))) << to_json(rule);
    }
  }
}

TEST(Residual, RulesComeBackFromJsonAndErrorsNameTheField) {
  for (const ResidualRule& rule : kSome) EXPECT_EQ(parse_residual_rule(to_json(rule), "test"), rule) << to_json(rule);
  const auto error_of = [](const char* text) -> std::string {
    try {
      parse_residual_rule(parse_json(text, "a"), "a");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(error_of(R"({"rule": "heavy_bal"})"), "a: residual: rule is \"heavy_bal\", did you mean \"heavy_ball\"?");
  EXPECT_EQ(error_of(R"({"rule": "heavy_ball", "mu": 2})"), "a: residual: mu is 2, expected a number -1.0..1.0");
  EXPECT_EQ(error_of(R"({"rule": "add", "mu": 1})"), "a: residual: unknown key \"mu\", expected one of rule, factor");
}

TEST(Rounds, ComeBackFromJson) {
  const Rounds rounds{.count = 3, .inner_residual = false, .own_routers = false, .shared_last = true};
  EXPECT_EQ(parse_rounds(to_json(rounds), "test"), rounds);
  EXPECT_EQ(parse_rounds(Json::object(), "test"), Rounds());
  EXPECT_THROW(parse_rounds({{"count", 0}}, "test"), Error);
  EXPECT_EQ(rounds.routers(), 1);
  EXPECT_EQ((Rounds{.count = 3}.router_of(2)), 2);
}

}  // namespace
}  // namespace junto
