#include "analyze/compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <optional>

#include "analyze/paired_statistics.h"
#include "analyze/svg.h"
#include "base/error.h"

namespace junto {
namespace {

constexpr int kExperts = 8, kActive = 2;
constexpr double kHeldAt = 0.05;
constexpr double kWarmupShare = 0.1;  // of the smallest budget

struct Size {
  std::string_view name;
  int hidden, layers, heads, expert_width;
};
constexpr std::array<Size, 2> kSizes = {{{"small", 48, 2, 4, 48}, {"large", 96, 3, 4, 96}}};
constexpr std::array<Size, 2> kSmokeSizes = {{{"small", 16, 1, 2, 8}, {"large", 24, 1, 2, 8}}};

/// "select" of a router in a recipe.
std::string selects(const std::string& rule) {
  return "model.router.select=" + rule;
}

const std::string kTop2 = R"({"rule":"top_k","k":2})";

std::vector<std::string> dense(const Size& size, int experts) {
  return {"model.dense_layers=" + std::to_string(size.layers),
          "model.dense_width=" + std::to_string(experts * size.expert_width), "losses.balance=0"};
}

/// What a router's arm sets at a size.
std::vector<std::string> fields_of(const CompareRouter& router, const Size& size) {
  std::vector<std::string> out = {
      "model.hidden=" + std::to_string(size.hidden), "model.layers=" + std::to_string(size.layers),
      "model.heads=" + std::to_string(size.heads), "model.expert_width=" + std::to_string(size.expert_width)};
  std::vector<std::string> own = router.set;
  if (router.name == "dense-active") own = dense(size, kActive);
  if (router.name == "dense-total") own = dense(size, kExperts);
  out.insert(out.end(), own.begin(), own.end());
  return out;
}

std::string arm_name(std::string_view router, std::string_view size, int budget) {
  return std::string(router) + "." + std::string(size) + "." + std::to_string(budget);
}

/// Executed operations of a run, budgets from 1.
double flops_of_budget(const CompareRequest& request, int budget) {
  return request.flops / std::pow(2.0, request.budgets - budget);
}

/// The controls, then what was asked for, each once.
std::vector<const CompareRouter*> routers_of(const std::vector<std::string>& names) {
  std::vector<const CompareRouter*> out;
  std::string known;
  for (const CompareRouter& router : compare_routers()) {
    if (router.control) out.push_back(&router);
    if (!router.control) known += (known.empty() ? "" : ", ") + std::string(router.name);
  }
  for (const std::string& name : names) {
    const auto found = std::ranges::find(compare_routers(), name, &CompareRouter::name);
    if (found == compare_routers().end()) fail("--routers", "has " + printable(name) + ", expected some of " + known);
    if (std::ranges::find(out, &*found) == out.end()) out.push_back(&*found);
  }
  return out;
}

/// Everything that a result says of one arm, by seed.
struct ArmRuns {
  std::string router, size;
  int budget = 0;
  double flops = 0.0, parameters = 0.0;  // means
  std::map<std::int64_t, Json> metrics;
  std::vector<double> step_ms, expert_ms;  // of the processor, by run
};

std::vector<ArmRuns> arms_of(const Json& result) {
  std::vector<ArmRuns> out;
  for (const Json& arm : result.at("arms")) {
    const std::string name = arm.at("name");
    const std::size_t last = name.rfind('.'), first = name.rfind('.', last - 1);
    if (last == std::string::npos || first == std::string::npos) {
      fail("result", "arm " + printable(name) + " is no ROUTER.SIZE.BUDGET, expected a result of junto compare");
    }
    ArmRuns& runs = out.emplace_back();
    runs.router = name.substr(0, first);
    runs.size = name.substr(first + 1, last - first - 1);
    runs.budget = std::atoi(name.c_str() + last + 1);
    const auto count = static_cast<double>(std::max<std::size_t>(1, arm.at("runs").size()));
    for (const Json& run : arm.at("runs")) {
      runs.metrics[run.at("seed")] = run.at("metrics");
      runs.step_ms.push_back(1e3 * run.value("step_seconds", 0.0));
      runs.expert_ms.push_back(1e3 * run.value("expert_step_seconds", 0.0));
      runs.flops += run.at("flops").get<double>() / count;
      runs.parameters += run.value("parameters", 0.0) / count;
    }
  }
  return out;
}

const ArmRuns* find_arm(const std::vector<ArmRuns>& arms, std::string_view router, std::string_view size, int budget) {
  const auto found = std::ranges::find_if(
      arms, [&](const ArmRuns& arm) { return arm.router == router && arm.size == size && arm.budget == budget; });
  return found == arms.end() ? nullptr : &*found;
}

int last_budget(const std::vector<ArmRuns>& arms) {
  int out = 0;
  for (const ArmRuns& arm : arms) out = std::max(out, arm.budget);
  return out;
}

std::vector<double> values_of(const ArmRuns& arm, const std::string& metric) {
  std::vector<double> out;
  for (const auto& [seed, metrics] : arm.metrics) {
    if (metrics.contains(metric)) out.push_back(metrics.at(metric));
  }
  return out;
}

/// Bits a byte that a router saves against the baseline, by seed; nothing of seeds that one of the two lacks.
std::map<std::int64_t, double> advantage(const std::vector<ArmRuns>& arms, std::string_view router,
                                         std::string_view size, int budget) {
  std::map<std::int64_t, double> out;
  const ArmRuns *mine = find_arm(arms, router, size, budget), *base = find_arm(arms, kCompareBaseline, size, budget);
  if (!mine || !base) return out;
  for (const auto& [seed, metrics] : mine->metrics) {
    const auto theirs = base->metrics.find(seed);
    if (theirs == base->metrics.end()) continue;
    out[seed] = theirs->second.at("bits_per_byte").get<double>() - metrics.at("bits_per_byte").get<double>();
  }
  return out;
}

std::vector<double> change(const std::map<std::int64_t, double>& from, const std::map<std::int64_t, double>& to) {
  std::vector<double> out;
  for (const auto& [seed, value] : to) {
    if (const auto before = from.find(seed); before != from.end()) out.push_back(value - before->second);
  }
  return out;
}

/// In the order of their first arms, the baseline left out.
std::vector<std::string> compared(const std::vector<ArmRuns>& arms) {
  std::vector<std::string> out;
  for (const ArmRuns& arm : arms) {
    if (arm.router != kCompareBaseline && std::ranges::find(out, arm.router) == out.end()) out.push_back(arm.router);
  }
  return out;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string with_interval(const std::vector<double>& values) {
  const MeanInterval interval = mean_interval(values);
  if (interval.count == 0) return "nothing";
  char text[96];
  if (interval.count == 1) {
    std::snprintf(text, sizeof text, "%+.4f (one seed)", interval.mean);
  } else {
    std::snprintf(text, sizeof text, "%+.4f [%+.4f, %+.4f]", interval.mean, interval.low, interval.high);
  }
  return text;
}

std::vector<double> values_of(const std::map<std::int64_t, double>& by_seed) {
  std::vector<double> out;
  for (const auto& [seed, value] : by_seed) out.push_back(value);
  return out;
}

std::string describe_arm(const ArmRuns& arm) {
  std::string out = "  " + arm.router + "." + arm.size + "." + std::to_string(arm.budget) + ": ";
  out += number(arm.parameters) + " parameters, " + number(arm.flops) + " FLOP, " +
         number(mean_interval(arm.step_ms).mean) + " ms a step, " + number(mean_interval(arm.expert_ms).mean) +
         " of them experts";
  constexpr std::array<std::array<const char*, 2>, 5> kMetrics = {{{"bits_per_byte", "bits a byte"},
                                                                   {"rows_per_token", "rows a token"},
                                                                   {"max_violation", "MaxVio"},
                                                                   {"late_churn", "churn"},
                                                                   {"expert_cosine", "cosine of experts"}}};
  for (const auto& [metric, words] : kMetrics) {
    const std::vector<double> values = values_of(arm, metric);
    if (!values.empty()) out += ", " + std::string(words) + " " + number(mean_interval(values).mean);
  }
  return out + "\n";
}

std::string describe_trend(const CompareTrend& trend) {
  const MeanInterval interval = mean_interval(trend.differences);
  const bool decided = trend.adjusted_p <= kHeldAt;
  const char* verdict = !decided ? "neither growth nor shrinkage is shown" : interval.mean > 0 ? "grows" : "shrinks";
  return "  " + trend.router + ", with " + trend.over + ": " + verdict + ", " + with_interval(trend.differences) +
         ", p (Holm) " + number(trend.adjusted_p) + "\n";
}

/// One size: a line a router, over executed operations.
LineChart chart_of(const std::vector<ArmRuns>& arms, std::string_view size) {
  LineChart chart{std::string(size), "executed GFLOP", "bits/byte", {}};
  double low = std::numeric_limits<double>::infinity(), high = 0.0;
  for (const ArmRuns& arm : arms) {
    const std::vector<double> values = values_of(arm, "bits_per_byte");
    if (arm.size != size || values.empty()) continue;
    auto series = std::ranges::find(chart.series, arm.router, &Series::name);
    if (series == chart.series.end()) {
      const auto known = std::ranges::find(compare_routers(), arm.router, &CompareRouter::name);
      chart.series.push_back(
          {.name = arm.router, .points = {}, .dashed = known != compare_routers().end() && known->control});
      series = chart.series.end() - 1;
    }
    const MeanInterval interval = mean_interval(values);
    series->points.emplace_back(arm.flops / 1e9, interval.mean);
    if (interval.count >= 3) series->band.push_back({arm.flops / 1e9, interval.low, interval.high});
    low = std::min(low, interval.mean), high = std::max(high, interval.mean);
  }
  chart.y_low = low - 0.05 * (high - low);
  chart.y_high = high + 0.05 * (high - low);
  chart.legend_above = true;
  return chart;
}

}  // namespace

const std::vector<CompareRouter>& compare_routers() {
  static const std::vector<CompareRouter> kRouters = {
      {"dense-active", "a dense network as wide as the two experts of a token", {}, true},
      {"dense-total", "a dense network as wide as all experts", {}, true},
      {"frozen",
       "two experts by a router that stays as it was drawn",
       {selects(kTop2), R"(stages=[{"from":0,"freeze":["*ffn_gate_inp*"]}])", "losses.balance=0"},
       true},
      {"hash",
       "two experts that follow from the token's id",
       {selects(R"({"rule":"given","key":"token","k":2,"seed":1})"), "model.router.weigh=constant",
        "model.router.scale=0.5", "losses.balance=0"},
       true},
      {"top1",
       "one expert, weighed by its softmax score, balance loss (Switch)",
       {selects(R"({"rule":"top_k","k":1})"), "model.router.weigh=raw"}},
      {"top2", "two experts, renormalised, balance loss", {selects(kTop2)}},
      {"top_p",
       "experts until their scores sum to 0.4, entropy loss (Dynamic MoE)",
       {selects(R"({"rule":"top_p","p":0.4,"inclusive":true})"), "model.router.weigh=raw", "losses.entropy=0.0001"}},
      {"expert_choice",
       "experts choose tokens while training; afterwards tokens take two experts: a token's own "
       "experts follow from later ones else",
       {selects(kTop2), R"(model.router_training={"select":{"rule":"expert_choice","factor":2}})", "losses.balance=0"}},
      {"alf_lb",
       "two experts, a bias of each moves against its load instead of a loss",
       {selects(kTop2), "model.router.score=sigmoid", "model.router.selection_bias=true", "losses.bias_rate=0.01",
        "losses.balance=0"}},
      {"sparsemixer",
       "two experts by SparseMixer, sampled while training",
       {selects(R"({"rule":"sparse_mixer"})"), "model.router.score=logit", "model.router.weigh=raw",
        "losses.balance=0"}},
      {"base",
       "one expert by the balanced assignment while training (BASE)",
       {selects(R"({"rule":"top_k","k":1})"), "model.router.score=sigmoid", "model.router.weigh=raw",
        R"(model.router_training={"balanced":true})", "losses.balance=0"}},
      {"gap", "experts above the largest drop between scores, four at most", {selects(R"({"rule":"gap","max_k":4})")}},
  };
  return kRouters;
}

Json compare_experiment(const CompareRequest& request) {
  const std::vector<const CompareRouter*> routers = routers_of(request.routers);
  const std::array<Size, 2>& sizes = request.smoke ? kSmokeSizes : kSizes;
  const Json router = {{"version", 1},
                       {"experts", kExperts},
                       {"score", "softmax"},
                       {"select", {{"rule", "top_k"}, {"k", kActive}}},
                       {"weigh", "renormalised"}};
  const int length = request.smoke ? 32 : 64;
  Json out = {
      {"version", 1},
      {"slug", request.slug},
      {"title", "Routers compared"},
      {"paper", "-"},
      {"about",
       "Routers and four controls at two sizes and budgets of executed operations; every arm is tuned "
       "at its smallest budget. The budgets of a seed branch, for their decay, from one run of constant rate."},
      {"fetch", "scripts/fetch-mix"},
      {"texts", Json::object()},
      {"recipe",
       {{"model", {{"context", length}, {"router", router}}},
        {"data", {{"separator", request.smoke ? "\n\n" : "\n\f\n"}, {"validation_share", request.smoke ? 0.5 : 0.1}}},
        {"batch", {{"sequences", 4}, {"length", length}}},
        {"losses", {{"balance", 0.01}}},
        {"optimizer", {{"weight_decay", 0.1}, {"clip_norm", 1.0}}},
        {"schedule",
         {{"kind", "wsd"},
          {"warmup_flops", kWarmupShare * flops_of_budget(request, 1)},
          {"decay_share", 0.2},
          {"final_share", 0.1}}}}},
      {"seeds", request.seeds},
      {"learning_rates", {0.004, 0.01}},
      {"tuning_seeds", 1},
      {"log_every", request.smoke ? 1 : 20},
      {"evaluate_every", request.smoke ? 2 : 100},
      {"tune_spans", request.smoke ? 4 : 16},
      {"test_spans", request.smoke ? 4 : 64},
      {"arms", Json::array()},
      {"claims", Json::array()}};
  for (const TextFile& text : request.texts) out["texts"][text.domain] = text.path;
  for (const Size& size : sizes) {
    for (int budget = 1; budget <= request.budgets; ++budget) {
      const double flops = flops_of_budget(request, budget);
      for (const CompareRouter* one : routers) {
        Json arm = {{"name", arm_name(one->name, size.name, budget)}, {"about", one->about}};
        arm["set"] = fields_of(*one, size);
        arm["set"].push_back("schedule.flops=" + Json(flops).dump());
        if (budget > 1) arm["tuned_as"] = arm_name(one->name, size.name, 1);
        if (budget < request.budgets) arm["trunk"] = arm_name(one->name, size.name, request.budgets);
        out["arms"].push_back(std::move(arm));
      }
    }
  }
  for (const CompareRouter* one : routers) {
    if (one->name == kCompareBaseline) continue;
    const std::string_view size = sizes.back().name;
    out["claims"].push_back({{"name", std::string(one->name) + " saves bits"},
                             {"text",
                              "At the larger size and largest budget: fewer bits a byte than the dense network "
                              "of equal active size"},
                             {"arm", arm_name(one->name, size, request.budgets)},
                             {"against", arm_name(kCompareBaseline, size, request.budgets)},
                             {"metric", "bits_per_byte"},
                             {"kind", "less"}});
  }
  out["smoke"] = {{"recipe", Json::object()}, {"seeds", request.seeds}, {"texts", out["texts"]}};
  return out;
}

std::vector<CompareTrend> compare_trends(const Json& result) {
  const std::vector<ArmRuns> arms = arms_of(result);
  const int last = last_budget(arms);
  std::vector<CompareTrend> out;
  for (const std::string& router : compared(arms)) {
    const auto at = [&](const Size& size, int budget) { return advantage(arms, router, size.name, budget); };
    for (const Size& size : kSizes) {
      if (last > 1) out.push_back({router, "budget, " + std::string(size.name), change(at(size, 1), at(size, last))});
    }
    out.push_back({router, "size", change(at(kSizes[0], last), at(kSizes[1], last))});
  }
  std::vector<double> p;
  for (const CompareTrend& trend : out) p.push_back(paired_p(trend.differences));
  const std::vector<double> adjusted = holm(p);
  for (std::size_t i = 0; i < out.size(); ++i) out[i].adjusted_p = adjusted[i];
  return out;
}

std::string describe_comparison(const Json& result) {
  const std::vector<ArmRuns> arms = arms_of(result);
  std::string out = "bits a byte saved against " + std::string(kCompareBaseline) + " (95 % interval over seeds):\n";
  for (const std::string& router : compared(arms)) {
    for (const ArmRuns& arm : arms) {
      if (arm.router != router) continue;
      out += "  " + router + ", " + arm.size + ", " + number(arm.flops) +
             " FLOP: " + with_interval(values_of(advantage(arms, router, arm.size, arm.budget))) + "\n";
    }
  }
  out += "how that changes from the smallest to the largest budget, and from the smaller to the larger size:\n";
  for (const CompareTrend& trend : compare_trends(result)) out += describe_trend(trend);
  out +=
      "what each arm is and did, means over seeds; time is of the processor, experts stand for all feed-forward "
      "networks without routers, forward and backward:\n";
  double least = std::numeric_limits<double>::infinity(), most = 0.0, few = least, many = 0.0;
  for (const ArmRuns& arm : arms) {
    if (arm.metrics.empty()) continue;
    out += describe_arm(arm);
    least = std::min(least, arm.flops), most = std::max(most, arm.flops);
    few = std::min(few, arm.parameters), many = std::max(many, arm.parameters);
  }
  if (most == 0.0) return out + "no run is finished\n";
  return out + "measured from " + number(least) + " to " + number(most) + " executed FLOP and from " + number(few) +
         " to " + number(many) +
         " parameters, on these texts; nothing is said beyond. Budgets of a seed share a run up to their decays: what "
         "changes with budget is of the same seeds.\n";
}

std::string comparison_picture(const Json& result) {
  constexpr double kChartWidth = 520, kChartHeight = 360;
  const std::vector<ArmRuns> arms = arms_of(result);
  Svg svg(2 * kChartWidth, kChartHeight);
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    const LineChart chart = chart_of(arms, kSizes[i].name);
    if (!chart.series.empty()) svg.draw(chart, {static_cast<double>(i) * kChartWidth, 0, kChartWidth, kChartHeight});
  }
  return svg.finish();
}

}  // namespace junto
