#include "train/reproduce/result.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "base/progress.h"
#include "cli/table.h"

namespace junto {
namespace {

/// First line of what a command prints, or "unknown".
std::string output_of(const char* command) {
  std::string out;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command, "r"), pclose);
  char line[256];
  if (pipe && std::fgets(line, sizeof line, pipe.get())) out = line;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out.empty() ? "unknown" : out;
}

std::vector<RunMetrics> metrics_of(const std::vector<Json>& rows) {
  std::vector<RunMetrics> out;
  for (const Json& row : rows) {
    RunMetrics run{.arm = row.at("arm"), .seed = row.at("seed"), .values = row.at("metrics"), .tokens = {}};
    for (const char* name : {"token_loss", "token_experts"}) {
      if (row.contains(name)) run.tokens[name] = row.at(name).get<std::vector<double>>();
    }
    out.push_back(std::move(run));
  }
  return out;
}

Json finite(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

Json json_of(const MeanInterval& interval) {
  return {{"count", interval.count},
          {"mean", interval.mean},
          {"deviation", interval.deviation},
          {"low", finite(interval.low)},
          {"high", finite(interval.high)}};
}

Json json_of(const Claim& claim, const ClaimOutcome& outcome) {
  Json out = {{"name", claim.name},
              {"text", claim.text},
              {"arm", claim.arm},
              {"metric", claim.metric},
              {"kind", claim_kind_name(claim.kind)},
              {"margin", claim.margin},
              {"relative", claim.relative},
              {"verdict", verdict_name(outcome.verdict)},
              {"why", outcome.why},
              {"differences", outcome.differences},
              {"interval", json_of(outcome.interval)},
              {"p", outcome.p},
              {"adjusted_p", outcome.adjusted_p},
              {"arm_mean", outcome.arm_mean}};
  if (!claim.against.empty()) {
    out["against"] = claim.against;
    out["against_mean"] = outcome.against_mean;
  } else {
    out["than"] = claim.than;
  }
  if (!claim.correlate.empty()) out["correlate"] = {claim.correlate, claim.correlate_metric};
  return out;
}

/// The baseline against itself: pairs differ in their seeds alone, so this is the difference that means nothing.
Json noise_of(const Experiment& experiment, const std::vector<RunMetrics>& runs) {
  Claim again;
  again.arm = kNoiseArm, again.against = experiment.noise;
  Json out = {{"arm", experiment.noise}};
  for (const char* metric :
       {"bits_per_byte", "path_bits", "recall", "corrupted_bits_per_byte", "max_violation", "rows_per_token"}) {
    again.metric = metric;
    const ClaimOutcome outcome = decide({again}, runs).front();
    if (outcome.interval.count > 0) out["metrics"][metric] = json_of(outcome.interval);
  }
  return out;
}

Json json_of_arm(const Setting& setting, const Arm& arm, double rate, const std::vector<Json>& tuned,
                 const std::vector<Json>& rows) {
  Json out = {{"name", arm.name}, {"about", arm.about}, {"set", arm.set}, {"learning_rate", finite(rate)}};
  if (!arm.trunk.empty()) out["trunk"] = arm.trunk;
  out["recipe"] = recipe_of(setting.experiment, {.arm = arm.name, .learning_rate = rate}, setting.texts, "");
  out["recipe"].erase("run");
  out["recipe"].erase("seed");
  out["recipe"]["data"]["files"] = Json::array();
  for (const DomainText& text : setting.texts) {
    if (!text.held_out) out["recipe"]["data"]["files"].push_back(text.file);
  }
  const auto keep = [&](const char* key, const std::vector<Json>& from) {
    out[key] = Json::array();
    for (const Json& row : from) {
      if (row.at("arm") != arm.name) continue;
      Json kept = row;
      for (const char* long_one : {"token_loss", "token_experts"}) kept.erase(long_one);
      out[key].push_back(std::move(kept));
    }
  };
  keep("tuning", tuned);
  for (Json& row : out["tuning"]) row.erase("curve");
  keep("runs", rows);
  return out;
}

std::string cell(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string with_reach(const MeanInterval& interval) {
  if (interval.count == 0) return "";
  if (interval.count == 1) return cell(interval.mean);
  char reach[32];
  std::snprintf(reach, sizeof reach, "%.2g", interval.high - interval.mean);
  return cell(interval.mean) + " +- " + reach;
}

}  // namespace

Json result_of(const Setting& setting, const std::vector<double>& rates, const std::vector<Run>& finals,
               const std::vector<Json>& tuned, const std::vector<Json>& rows) {
  const Experiment& experiment = setting.experiment;
  const std::vector<RunMetrics> runs = metrics_of(rows);
  double seconds = 0.0, flops = 0.0;
  for (const auto* list : {&tuned, &rows}) {
    for (const Json& row : *list)
      seconds += row.at("seconds").get<double>(), flops += row.value("own_flops", row.at("flops").get<double>());
  }
  Json out = {{"version", 1},
              {"slug", experiment.slug},
              {"title", experiment.title},
              {"paper", experiment.paper},
              {"about", experiment.about},
              {"mode", experiment.smoke              ? "smoke"
                       : rows.size() < finals.size() ? "partial"
                                                     : "full"},
              {"declared", experiment.sha256},
              {"commit", output_of("git rev-parse HEAD 2>/dev/null")},
              {"changed_files", output_of("git status --porcelain -- train moe 2>/dev/null | wc -l")},
              {"machine", to_json(setting.machine)},
              {"texts", Json::array()},
              {"loss_metric", rows.empty() ? "bits_per_byte" : loss_metric_of(rows.front().at("metrics"))},
              {"learning_rates", experiment.learning_rates},
              {"seconds", seconds},
              {"flops", flops},
              {"arms", Json::array()},
              {"claims", Json::array()}};
  for (const DomainText& text : setting.texts) {
    out["texts"].push_back({{"domain", text.domain},
                            {"file", text.file},
                            {"sha256", text.sha256},
                            {"tune_documents", text.tune_documents},
                            {"test_documents", text.test_documents}});
  }
  for (std::size_t i = 0; i < experiment.arms.size(); ++i) {
    out["arms"].push_back(json_of_arm(setting, experiment.arms[i], rates[i], tuned, rows));
  }
  const std::vector<ClaimOutcome> outcomes = decide(experiment.claims, runs);
  for (std::size_t i = 0; i < outcomes.size(); ++i) out["claims"].push_back(json_of(experiment.claims[i], outcomes[i]));
  if (!experiment.noise.empty()) out["noise"] = noise_of(experiment, runs);
  return out;
}

std::string describe(const Json& result) {
  const bool paths = result.at("loss_metric") == "path_bits";
  std::vector<const char*> metrics = {"bits_per_byte", "max_violation", "rows_per_token"};
  if (paths) metrics = {"path_bits", "recall", "recall.held_out"};
  Table arms{{{"arm"},
              {"rate", Align::kRight},
              {"seeds", Align::kRight},
              {paths ? "bits/path" : "bits/byte", Align::kRight},
              {paths ? "recall" : "MaxVio", Align::kRight},
              {paths ? "held out" : "rows/token", Align::kRight},
              {"executed", Align::kRight},
              {"s", Align::kRight}},
             {}};
  const auto column = [&](const char* metric, const char* title) {
    const auto has = [&](const Json& run) { return run.at("metrics").contains(metric); };
    const auto any = [&](const Json& arm) { return std::ranges::any_of(arm.at("runs"), has); };
    if (!std::ranges::any_of(result.at("arms"), any)) return;
    metrics.push_back(metric);
    arms.columns.insert(arms.columns.end() - 2, Column{title, Align::kRight});
  };
  column("training_device_rows", "training device rows");
  column("device_rows", "device rows");
  column("order_saves", "order saves");
  for (const Json& arm : result.at("arms")) {
    const Json& runs = arm.at("runs");
    std::vector<std::string> row = {arm.at("name"), arm.at("learning_rate").dump(), std::to_string(runs.size())};
    for (const char* metric : metrics) {
      std::vector<double> values;
      for (const Json& run : runs) {
        if (run.at("metrics").contains(metric)) values.push_back(run.at("metrics").at(metric));
      }
      row.push_back(with_reach(mean_interval(values)));
    }
    double flops = 0.0, seconds = 0.0;
    for (const Json& run : runs) flops += run.at("flops").get<double>(), seconds += run.at("seconds").get<double>();
    const double count = std::max<double>(1.0, static_cast<double>(runs.size()));
    row.push_back(format_quantity(flops / count, "FLOP"));
    row.push_back(cell(seconds / count));
    arms.rows.push_back(std::move(row));
  }
  Table claims{{{"claim"}, {"verdict"}, {"difference", Align::kRight}, {"95 % interval"}, {"p (Holm)"}}, {}};
  for (const Json& claim : result.at("claims")) {
    const Json& interval = claim.at("interval");
    const auto end = [&](const char* key) { return interval.at(key).is_null() ? "" : cell(interval.at(key)); };
    claims.rows.push_back({claim.at("name"), claim.at("verdict"), cell(interval.at("mean")),
                           "[" + std::string(end("low")) + ", " + end("high") + "]", cell(claim.at("adjusted_p"))});
  }
  return to_plain(arms) + "\n" + to_plain(claims);
}

}  // namespace junto
