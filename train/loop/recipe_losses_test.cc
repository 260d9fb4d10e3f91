// Fields of `losses` in a recipe: each adds to the gradient what a naive reference says.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "format/test_directory.h"
#include "train/loop/test_recipe.h"
#include "train/loop/trainer.h"

namespace junto {
namespace {

using Rows = std::vector<std::vector<double>>;

Json losses_recipe(const TestDirectory& directory) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "a line with the number " + std::to_string(i % 9) + " and no more\n";
  return small_recipe(
      directory, text,
      {{"seed", 4},
       {"model", {{"hidden", 16}, {"context", 16}, {"expert_width", 8}, {"router", {{"select", {{"k", 4}}}}}}},
       {"batch", {{"sequences", 2}, {"length", 12}}},
       {"losses", {{"balance", 0}}}});
}

Rows rows_of(const at::Tensor& values) {
  const at::Tensor wide = values.detach().to(at::kDouble).contiguous();
  Rows out;
  for (std::int64_t row = 0; row < wide.size(0); ++row) {
    const double* begin = wide.data_ptr<double>() + row * wide.size(1);
    out.emplace_back(begin, begin + wide.size(1));
  }
  return out;
}

double variation(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size()), mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0.0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return squares / n / (mean * mean);
}

double importance_of(const RoutedUnits& routed) {
  const Rows scores = rows_of(routed.scores);
  std::vector<double> sums(scores[0].size());
  for (const auto& row : scores) {
    for (std::size_t e = 0; e < row.size(); ++e) sums[e] += row[e];
  }
  return variation(sums);
}

/// Chance that the expert, drawn anew, is above the second best of the others.
double load_of(const RoutedUnits& routed) {
  const Rows clean = rows_of(routed.clean_logits), noisy = rows_of(routed.logits), spread = rows_of(routed.deviation);
  std::vector<double> sums(clean[0].size());
  for (std::size_t unit = 0; unit < clean.size(); ++unit) {
    for (std::size_t e = 0; e < sums.size(); ++e) {
      std::vector<double> others = noisy[unit];
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(e));
      std::sort(others.rbegin(), others.rend());
      sums[e] += 0.5 * std::erfc(-(clean[unit][e] - others[1]) / spread[unit][e] / std::sqrt(2.0));
    }
  }
  return variation(sums);
}

double entropy_of(const RoutedUnits& routed, const std::function<double(const std::vector<double>&)>& of_row) {
  const Rows scores = rows_of(routed.scores);
  double sum = 0.0;
  for (const auto& row : scores) sum += of_row(row);
  return sum / static_cast<double>(scores.size());
}

double power_sum(const std::vector<double>& row, double order) {
  double sum = 0.0;
  for (const double p : row) sum += std::pow(p, order);
  return sum;
}

/// All experts are chosen by all: f_e = 1.
double weighted_balance_of(const RoutedUnits& routed, const std::vector<double>& weights) {
  const Rows scores = rows_of(routed.scores);
  double sum = 0.0;
  for (const auto& row : scores) {
    for (std::size_t e = 0; e < row.size(); ++e) sum += weights[e] * row[e];
  }
  return sum / static_cast<double>(scores.size()) * static_cast<double>(weights.size());
}

/// Of each sequence by itself, then the mean.
double sequence_balance_of(const RoutedUnits& routed, std::int64_t length) {
  const Rows scores = rows_of(routed.scores);
  double sum = 0.0;
  for (std::int64_t first = 0; first < std::ssize(scores); first += length) {
    std::vector<double> slots(scores[0].size()), mass(scores[0].size());
    double all = 0.0;
    for (std::int64_t unit = first; unit < first + length; ++unit) {
      for (const std::int32_t expert : routed.plan.experts_of(unit))
        slots[static_cast<std::size_t>(expert)] += 1.0, all += 1.0;
      for (std::size_t e = 0; e < mass.size(); ++e)
        mass[e] += scores[static_cast<std::size_t>(unit)][e] / static_cast<double>(length);
    }
    for (std::size_t e = 0; e < mass.size(); ++e) sum += static_cast<double>(mass.size()) * slots[e] / all * mass[e];
  }
  return sum * static_cast<double>(length) / static_cast<double>(scores.size());
}

/// Of units that have one expert: their shares, and the mass of all.
double single_balance_of(const RoutedUnits& routed) {
  const Rows scores = rows_of(routed.scores);
  std::vector<double> slots(scores[0].size()), mass(scores[0].size());
  double single = 0.0, sum = 0.0;
  for (std::size_t unit = 0; unit < scores.size(); ++unit) {
    const auto experts = routed.plan.experts_of(static_cast<std::int64_t>(unit));
    if (experts.size() == 1) slots[static_cast<std::size_t>(experts[0])] += 1.0, single += 1.0;
    for (std::size_t e = 0; e < mass.size(); ++e) mass[e] += scores[unit][e] / static_cast<double>(scores.size());
  }
  for (std::size_t e = 0; e < mass.size(); ++e) sum += static_cast<double>(mass.size()) * slots[e] / single * mass[e];
  EXPECT_GT(single, 1.0);
  EXPECT_LT(single, static_cast<double>(scores.size()));
  return sum;
}

double orthogonality_of(const LanguageModel::Block& block) {
  Rows experts = rows_of(block.expert_gate_up.reshape({4, -1}));
  const Rows down = rows_of(block.expert_down.reshape({4, -1}));
  for (std::size_t e = 0; e < 4; ++e) experts[e].insert(experts[e].end(), down[e].begin(), down[e].end());
  const auto dot = [&](std::size_t a, std::size_t b) {
    return std::inner_product(experts[a].begin(), experts[a].end(), experts[b].begin(), 0.0);
  };
  double sum = 0.0;
  for (std::size_t a = 0; a < 4; ++a) {
    for (std::size_t b = 0; b < a; ++b) sum += dot(a, b) * dot(a, b) / dot(a, a) / dot(b, b);
  }
  return sum / 6.0;
}

struct LossField {
  Json losses;
  double StepReport::*report;
  std::function<double(const RoutedUnits&)> of_layer;  // none: of the experts' weights
  bool noisy = false;
  std::string select = {};  // a rule in the place of all experts for all
};

double reference_of(const LossField& field, const LanguageModel& model, const at::Tensor& inputs) {
  at::NoGradGuard guard;
  double sum = 0.0;
  if (!field.of_layer) {
    for (const LanguageModel::Block& block : model.blocks()) sum += orthogonality_of(block) / 2;
    return sum;
  }
  const DrawPlace draws{.seed = 4, .step = 0, .first_unit = 0};
  for (const RoutedUnits& routed : model.forward(inputs, &draws).routed) sum += field.of_layer(routed) / 2;
  return sum;
}

/// A first step, with routers that are far from even.
StepReport first_step(Trainer& trainer) {
  for (const LanguageModel::Block& block : trainer.model().blocks()) block.routers[0].logits.detach().mul_(20.0);
  return trainer.train_step();
}

void check_field(const LossField& field) {
  const TestDirectory directory;
  Json json = losses_recipe(directory);
  json["optimizer"]["learning_rate"] = 0.0;  // values stay what they were
  if (field.noisy) {
    json["model"]["router"]["select"]["k"] = 2;
    json["model"]["router_training"] = {{"noise", "learned"}};
  }
  if (!field.select.empty()) json["model"]["router"]["select"] = Json::parse(field.select);
  Trainer without(parse_recipe(json, "recipe"));
  json["losses"].update(field.losses);
  Trainer with(parse_recipe(json, "recipe"));
  first_step(without);
  const StepReport report = first_step(with);
  const at::Tensor inputs = draw_batch(with.text().train, 2, 12, 4, 0).inputs;
  const double expected = reference_of(field, with.model(), inputs);
  EXPECT_GT(expected, 1e-4) << field.losses;
  EXPECT_NEAR(report.*field.report, expected, 2e-5 * expected + 1e-7) << field.losses;
  // The field's gradient, by the difference of the two trainers', is the slope of the reference along it.
  const at::Tensor slope = with.model().parameters().gradients() - without.model().parameters().gradients();
  const double squares = slope.to(at::kDouble).square().sum().item<double>(),
               distance_of_step = field.select.empty() ? 2e-3 : 2e-4,  // no unit may change its experts
      step = distance_of_step / std::sqrt(squares);
  ASSERT_GT(squares, 1e-8) << field.losses;
  const at::Tensor& values = with.model().parameters().values();
  const at::Tensor kept = values.clone();
  const auto at = [&](double distance) {
    at::NoGradGuard guard;
    values.copy_(kept + slope * distance);
    return reference_of(field, with.model(), inputs);
  };
  EXPECT_NEAR((at(step) - at(-step)) / (2 * step), squares, 0.02 * squares) << field.losses;
}

TEST(RecipeLosses, EachFieldAddsItsReferenceToTheLoss) {
  const auto entropy = [](const std::function<double(const std::vector<double>&)>& of_row) {
    return [of_row](const RoutedUnits& routed) { return entropy_of(routed, of_row); };
  };
  check_field({{{"importance", 1}}, &StepReport::importance, importance_of});
  check_field({{{"load", 1}}, &StepReport::smooth_load, load_of, /*noisy=*/true});
  check_field({{{"orthogonality", 1}}, &StepReport::orthogonality, nullptr});
  check_field(
      {{{"balance", 1}, {"balance_weights", {1, 0, 2, 0.5}}}, &StepReport::balance, [](const RoutedUnits& routed) {
         return weighted_balance_of(routed, {1, 0, 2, 0.5});
       }});
  check_field({.losses = {{"sequence_balance", 1}},
               .report = &StepReport::sequence_balance,
               .of_layer = [](const RoutedUnits& routed) { return sequence_balance_of(routed, 12); },
               .select = R"({"rule": "top_k", "k": 2})"});
  check_field({.losses = {{"balance", 1}, {"balance_of", "single"}},
               .report = &StepReport::balance,
               .of_layer = single_balance_of,
               .select = R"({"rule": "margin", "margin": 0.35})"});
  check_field({{{"entropy", 1}}, &StepReport::entropy, entropy([](const std::vector<double>& row) {
                 double sum = 0.0;
                 for (const double p : row) sum -= p * std::log(p);
                 return sum;
               })});
  check_field({{{"entropy", 1}, {"entropy_kind", "tsallis"}, {"entropy_order", 1.5}},
               &StepReport::entropy,
               entropy([](const std::vector<double>& row) { return (1.0 - power_sum(row, 1.5)) / 0.5; })});
  check_field({{{"entropy", 1}, {"entropy_kind", "renyi"}},
               &StepReport::entropy,
               entropy([](const std::vector<double>& row) { return -std::log(power_sum(row, 2.0)); })});
}

TEST(RecipeLosses, ErrorsNameTheField) {
  const TestDirectory directory;
  const Json good = losses_recipe(directory);
  const auto error_with = [&](const std::vector<std::string>& assignments) {
    Json json = good;
    for (const std::string& assignment : assignments) set_field(json, assignment);
    return error_of([&] { parse_recipe(json, "r.json"); });
  };
  const auto expect = [&](const std::vector<std::string>& assignments, const std::string& part) {
    EXPECT_NE(error_with(assignments).find(part), std::string::npos) << error_with(assignments);
  };
  EXPECT_EQ(error_with({"losses.importance=0.1", "losses.orthogonality=0.1"}), "no error");
  EXPECT_EQ(error_with({"losses.load=0.1", "model.router.select.k=2", R"(model.router_training={"noise":"learned"})"}),
            "no error");
  expect({"losses.importance=-1"}, "r.json: losses: importance is -1, expected");
  expect({"losses.load=0.1"}, "losses: load is set, expected 0 or router_training with learned noise");
  expect({"losses.load=0.1", R"(model.router_training={"noise":"learned"})"},
         "load is set, expected 0 or a router with top_k below 4");
  expect({"losses.orthogonality=much"}, "losses: orthogonality is \"much\", expected");
  expect({"losses.entropy_kind=tsalis"}, "did you mean \"tsallis\"");
  expect({"losses.entropy_order=2"}, "entropy_order is set, expected nothing without entropy_kind");
  expect({"losses.entropy_kind=renyi", "losses.entropy_order=0"}, "losses: entropy_order is 0, expected");
  expect({"losses.balance_weights=[1,2]"}, "balance_weights is a list of 2, expected a list of 4 numbers 0..1e6");
  expect({"losses.balance_weights=[1,2,-3,4]"}, "balance_weights is a list with -3, expected");
  expect({"losses.balance_of=singel"}, "did you mean \"single\"");
  expect({"losses.balance_of=single", "losses.balance_weights=[1,1,1,1]"},
         "balance_weights is set, expected nothing with balance_of single");
  expect({"losses.sequence_balance=1", "losses.balance=0", "model.router.score=logit"},
         "sequence_balance is set, expected 0 where scores are logits");
  expect({R"(ramps={"losses.load":[[0,1]]})"}, "ramps: losses: load is set");
}

}  // namespace
}  // namespace junto
