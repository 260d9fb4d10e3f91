#include "train/reproduce/run_path_arm.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <numbers>
#include <string>

#include "train/reproduce/measure_paths.h"

namespace junto {
namespace {

/// Both as means over texts.
struct PathFigures {
  double bits = 0.0, recall = 0.0;
};

/// The same tokens for all arms: spans are of the experiment's own length, however short an arm's are.
MeasuredPaths measure_part(const Trainer& trainer, const Experiment& experiment, const PathText& text,
                           std::int64_t spans) {
  const BatchOptions& batch = trainer.recipe().batch;
  const std::int64_t length = experiment.recipe.value("/batch/length"_json_pointer, BatchOptions{}.length);
  return measure_paths(trainer.model(), text, spans * length / batch.length, batch.sequences, batch.length);
}

PathFigures tune_figures(const Trainer& trainer, const Experiment& experiment, const std::vector<DomainText>& texts) {
  PathFigures out;
  double count = 0;
  for (const DomainText& text : texts) {
    if (text.held_out) continue;
    const MeasuredPaths found = measure_part(trainer, experiment, {text.tune, text.tune_paths}, experiment.tune_spans);
    out.bits += found.loss / std::numbers::ln2, out.recall += found.recall(), ++count;
  }
  return {out.bits / count, out.recall / count};
}

/// Adds `value` to the mean of a metric over so many texts.
void add_mean(Json& metrics, const std::string& name, double value, double texts) {
  metrics[name] = metrics.value(name, 0.0) + value / texts;
}

/// The texts to test, read here and nowhere else. Texts count alike, whatever their number of tokens.
void read_path_tests(const Trainer& trainer, const Experiment& experiment, const std::vector<DomainText>& texts,
                     Json& row) {
  Json& metrics = row["metrics"];
  const PathText train{trainer.text().train, trainer.text().train_paths};
  const auto held_out = static_cast<double>(std::ranges::count(texts, true, &DomainText::held_out));
  std::int64_t tokens = 0;
  for (const DomainText& text : texts) {
    const PathText test{text.test, text.test_paths};
    const MeasuredPaths found = measure_part(trainer, experiment, test, experiment.test_spans);
    const std::string end = text.held_out ? ".held_out" : "";
    const double alike = text.held_out ? held_out : static_cast<double>(texts.size()) - held_out;
    metrics["recall." + text.domain] = found.recall();
    metrics["path_bits." + text.domain] = found.loss / std::numbers::ln2;
    add_mean(metrics, "recall" + end, found.recall(), alike);
    add_mean(metrics, "path_bits" + end, found.loss / std::numbers::ln2, alike);
    for (const auto& [name, recall] : untrained_recall(train, test, found.tokens, trainer.recipe().model.vocabulary)) {
      add_mean(metrics, "untrained." + name + end, recall, alike);
      add_mean(metrics, "over." + name + end, found.recall() - recall, alike);
    }
    tokens += found.tokens;
  }
  if (held_out > 0) {
    metrics["recall_lost"] = metrics["recall"].get<double>() - metrics["recall.held_out"].get<double>();
  }
  row["test_tokens"] = tokens;
}

}  // namespace

Json run_path_arm(Trainer& trainer, const Experiment& experiment, const Run& run,
                  const std::vector<DomainText>& texts) {
  const auto begin = std::chrono::steady_clock::now();
  Json row = {{"arm", run.arm},           {"seed", run.seed},
              {"tuning", run.tuning},     {"learning_rate", trainer.recipe().optimizer.learning_rate},
              {"curve", Json::object()},  {"tune", Json::object()},
              {"metrics", Json::object()}};
  if (run.learning_rate > 0.0) row["learning_rate"] = run.learning_rate;
  while (!trainer.done()) {
    const StepReport report = trainer.train_step();
    if (report.step % experiment.log_every == 0 || trainer.done()) {
      append_point(row["curve"], {{"step", report.step},
                                  {"loss", report.loss},
                                  {"tokens", trainer.ledger().tokens},
                                  {"flops", trainer.ledger().flops},
                                  {"gradient_norm", report.gradient_norm}});
    }
    if (report.step % experiment.evaluate_every == 0 || trainer.done()) {
      const PathFigures found = tune_figures(trainer, experiment, texts);
      append_point(row["tune"], {{"step", report.step},
                                 {"flops", trainer.ledger().flops},
                                 {"path_bits", found.bits},
                                 {"recall", found.recall}});
    }
  }
  row["parameters"] = trainer.model().parameters().count();
  row["tokens"] = trainer.ledger().tokens;
  row["flops"] = trainer.ledger().flops;
  row["expert_rows"] = 0;
  row["metrics"] = {{"flops", trainer.ledger().flops},
                    {"tune_path_bits", row["tune"]["path_bits"].back()},
                    {"tune_recall", row["tune"]["recall"].back()}};
  if (!run.tuning) read_path_tests(trainer, experiment, texts, row);
  row["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return row;
}

}  // namespace junto
