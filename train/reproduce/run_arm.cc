#include "train/reproduce/run_arm.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>

#include "train/loop/trainer.h"
#include "train/reproduce/measure.h"

namespace junto {
namespace {

constexpr std::size_t kTokensKept = 2048;  // of each domain

double bits(double nats) {
  return nats / std::numbers::ln2;
}

double seconds_since(std::chrono::steady_clock::time_point then) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - then).count();
}

std::int64_t routed_layers(const LanguageModelShape& shape) {
  return shape.layers - shape.dense_layers;
}

/// Of a ledger's rows or, with `before`, of those since.
double experts_per_token_of(const Ledger& now, const Ledger& before, std::int64_t layers) {
  const double units = static_cast<double>(now.tokens - before.tokens) * static_cast<double>(layers);
  return units > 0.0 ? static_cast<double>(now.expert_rows - before.expert_rows) / units : 0.0;
}

Json point_of(const StepReport& report, const Trainer& trainer, const Ledger& before) {
  return {{"step", report.step},
          {"loss", report.loss},
          {"tokens", trainer.ledger().tokens},
          {"flops", trainer.ledger().flops},
          {"gradient_norm", report.gradient_norm},
          {"max_violation", report.busiest > 0.0 ? report.busiest - 1.0 : 0.0},
          {"idle_experts", report.idle},
          {"experts_per_token", experts_per_token_of(trainer.ledger(), before, routed_layers(trainer.recipe().model))}};
}

/// `before`: what was measured last, which this replaces.
Json tune_point(const Trainer& trainer, const Experiment& experiment, const std::vector<DomainText>& texts,
                Measured& before) {
  const BatchOptions& batch = trainer.recipe().batch;
  double loss = 0.0;
  Measured all;
  for (const DomainText& text : texts) {
    const Measured found = measure(trainer.model(), text.tune, experiment.tune_spans, batch.sequences, batch.length);
    loss += found.loss;
    add(all, found);
  }
  loss /= static_cast<double>(texts.size());
  const Json point = {{"step", trainer.step()},
                      {"flops", trainer.ledger().flops},
                      {"loss", loss},
                      {"bits_per_byte", bits(loss)},
                      {"churn", churn(before, all)},
                      {"expert_cosine", expert_cosine(trainer.model())}};
  before = std::move(all);
  return point;
}

/// A point more in each column.
void append(Json& columns, const Json& point) {
  for (const auto& [name, value] : point.items()) columns[name].push_back(value);
}

/// Slots of experts of a kind, as a share of all.
double share_of_kind(const Measured& measured, const LanguageModelShape& shape, ExpertKind kind) {
  double of_kind = 0.0, all = 0.0;
  for (const std::vector<double>& load : measured.load) {
    for (std::size_t e = 0; e < load.size(); ++e) {
      all += load[e];
      if (shape.kind_of(static_cast<int>(e)) == kind) of_kind += load[e];
    }
  }
  return all > 0.0 ? of_kind / all : 0.0;
}

/// What routing did on the text to test.
void add_routing(const Measured& all, const LanguageModelShape& shape, Json& row) {
  Json& metrics = row["metrics"];
  metrics["max_violation"] = max_violation(all);
  metrics["idle_experts"] = idle_experts(all);
  double experts = 0.0;
  row["layers"] = Json::array();
  for (std::size_t routing = 0; routing < all.load.size(); ++routing) {
    const double of_routing = experts_per_token(all, routing);
    experts += of_routing / static_cast<double>(all.load.size());
    row["layers"].push_back({{"experts_per_token", of_routing}, {"load", all.load[routing]}});
  }
  metrics["experts_per_token"] = experts;
  metrics["rows_per_token"] = rows_per_token(all, shape.weighted_experts(), routed_layers(shape));
  if (shape.free_experts() > 0) {
    metrics["weighted_max_violation"] = max_violation(of_experts(all, shape.weighted_experts()));
    metrics["share.constant"] = share_of_kind(all, shape, ExpertKind::kConstant);
    metrics["share.copy"] = share_of_kind(all, shape, ExpertKind::kCopy);
    metrics["share.zero"] = share_of_kind(all, shape, ExpertKind::kZero);
  }
  if (shape.rounds.count > 1) {
    metrics["round_repeats"] = round_repeats(all);
    metrics["round_asymmetry"] = round_asymmetry(all);
  }
}

/// The text to test, read here and nowhere else. Domains count alike, whatever their number of tokens.
void read_test(const Trainer& trainer, const Experiment& experiment, const std::vector<DomainText>& texts, Json& row) {
  const BatchOptions& batch = trainer.recipe().batch;
  Json& metrics = row["metrics"];
  Measured all;
  double loss = 0.0, corrupted = 0.0;
  std::vector<double> token_loss, token_experts;
  for (const DomainText& text : texts) {
    const auto read = [&](const Corruption& corruption) {
      return measure(trainer.model(), text.test, experiment.test_spans, batch.sequences, batch.length, corruption);
    };
    const Measured found = read({});
    metrics["bits_per_byte." + text.domain] = bits(found.loss);
    loss += found.loss / static_cast<double>(texts.size());
    if (experiment.corruption.share > 0.0) {
      corrupted += read(experiment.corruption).loss / static_cast<double>(texts.size());
    }
    double experts = 0.0;
    for (std::size_t routing = 0; routing < found.load.size(); ++routing) experts += experts_per_token(found, routing);
    if (!found.load.empty())
      metrics["experts_per_token." + text.domain] = experts / static_cast<double>(found.load.size());
    const std::size_t kept = std::min(kTokensKept, found.token_loss.size());
    token_loss.insert(token_loss.end(), found.token_loss.begin(), found.token_loss.begin() + kept);
    token_experts.insert(token_experts.end(), found.token_experts.begin(), found.token_experts.begin() + kept);
    add(all, found);
  }
  metrics["bits_per_byte"] = bits(loss);
  if (experiment.corruption.share > 0.0) {
    metrics["corrupted_bits_per_byte"] = bits(corrupted);
    metrics["corruption_bits"] = bits(corrupted - loss);
  }
  row["test_tokens"] = all.tokens;
  row["token_loss"] = std::move(token_loss);
  row["token_experts"] = std::move(token_experts);
  if (!all.load.empty()) add_routing(all, trainer.model().shape(), row);
}

}  // namespace

Json recipe_of(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
               const std::string& folder) {
  Json recipe = experiment.recipe;
  const Arm& arm = arm_of(experiment, run.arm);
  for (const std::string& assignment : arm.set) set_field(recipe, assignment);
  recipe["version"] = 1;
  recipe["name"] = experiment.slug + "/" + run.arm;
  recipe["seed"] = run.seed + arm.seed_offset;
  recipe["data"]["files"] = Json::array();
  for (const DomainText& text : texts) recipe["data"]["files"].push_back(text.path);
  recipe["run"]["folder"] = folder;
  if (run.learning_rate > 0.0) recipe["optimizer"]["learning_rate"] = run.learning_rate;
  return recipe;
}

Json run_arm(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
             const std::string& folder) {
  const auto begin = std::chrono::steady_clock::now();
  Trainer trainer(parse_recipe(recipe_of(experiment, run, texts, folder), experiment.slug + "/" + run.arm));
  const std::int64_t layers = routed_layers(trainer.recipe().model);
  Json row = {{"arm", run.arm},           {"seed", run.seed},
              {"tuning", run.tuning},     {"learning_rate", trainer.recipe().optimizer.learning_rate},
              {"curve", Json::object()},  {"tune", Json::object()},
              {"metrics", Json::object()}};
  if (run.learning_rate > 0.0) row["learning_rate"] = run.learning_rate;
  Ledger since;
  Measured before;
  double late_violation = 0.0, late_churn = 0.0;
  std::int64_t late_steps = 0, late_points = 0;
  while (!trainer.done()) {
    const StepReport report = trainer.train_step();
    const std::int64_t step = report.step;
    if (trainer.share_done() > 0.75) late_violation += report.busiest - 1.0, ++late_steps;
    if (step % experiment.log_every == 0 || trainer.done()) {
      append(row["curve"], point_of(report, trainer, since));
      since = trainer.ledger();
    }
    if (step % experiment.evaluate_every == 0 || trainer.done()) {
      const Json point = tune_point(trainer, experiment, texts, before);
      append(row["tune"], point);
      if (trainer.share_done() > 2.0 / 3.0) late_churn += point["churn"].get<double>(), ++late_points;
    }
  }
  row["parameters"] = trainer.model().parameters().count();  // at the end: experts may grow
  row["tokens"] = trainer.ledger().tokens;
  row["flops"] = trainer.ledger().flops;
  row["expert_rows"] = trainer.ledger().expert_rows;
  row["metrics"] = {{"flops", trainer.ledger().flops}, {"tune_bits_per_byte", row["tune"]["bits_per_byte"].back()}};
  if (layers > 0) {
    Json& metrics = row["metrics"];
    metrics["expert_rows"] = trainer.ledger().expert_rows;
    metrics["training_experts_per_token"] = experts_per_token_of(trainer.ledger(), {}, layers);
    metrics["first_experts_per_token"] = row["curve"]["experts_per_token"].front();
    metrics["last_experts_per_token"] = row["curve"]["experts_per_token"].back();
    metrics["fall_of_experts_per_token"] =
        metrics["first_experts_per_token"].get<double>() - metrics["last_experts_per_token"].get<double>();
    const Json& visited = row["curve"]["experts_per_token"];
    metrics["most_experts_per_token"] = *std::max_element(visited.begin(), visited.end());
    metrics["late_churn"] = late_churn / static_cast<double>(std::max<std::int64_t>(1, late_points));
    metrics["expert_cosine"] = row["tune"]["expert_cosine"].back();
    metrics["batch_max_violation"] = late_violation / static_cast<double>(std::max<std::int64_t>(1, late_steps));
  }
  if (!run.tuning) read_test(trainer, experiment, texts, row);
  row["seconds"] = seconds_since(begin);
  return row;
}

StepCost probe_arm(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
                   std::int64_t steps) {
  Trainer trainer(parse_recipe(recipe_of(experiment, run, texts, "/nowhere"), experiment.slug + "/" + run.arm));
  trainer.train_step();  // fresh pages, first calls
  const double before = trainer.ledger().flops;
  const auto begin = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < steps; ++i) trainer.train_step();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto count = static_cast<double>(steps);
  return {.flops = (trainer.ledger().flops - before) / count,
          .seconds = seconds_since(begin) / count,
          .parameters = trainer.model().parameters().count(),
          .bytes = static_cast<std::int64_t>(usage.ru_maxrss) * 1024,
          .steps_of_run = trainer.recipe().schedule.steps};
}

}  // namespace junto
