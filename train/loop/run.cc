#include "train/loop/run.h"

#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/interrupt.h"
#include "cli/number_text.h"
#include "train/loop/run_log.h"
#include "train/loop/trainer.h"
#include "train/nn/blas.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRecipeBytes = 1 << 20;
constexpr std::int64_t kSmokeSteps = 10, kSmokeSpans = 8;

/// Paths of checkpoints in the folder, oldest first.
std::vector<std::string> checkpoints_in(const std::string& folder) {
  std::vector<std::string> found;
  if (!fs::is_directory(folder)) return found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("checkpoint-") && name.ends_with(".safetensors")) found.push_back(entry.path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

void save_checkpoint(Trainer& trainer) {
  const RunOptions& run = trainer.recipe().run;
  char name[64];
  std::snprintf(name, sizeof name, "/checkpoint-%010lld.safetensors", static_cast<long long>(trainer.step()));
  trainer.save(run.folder + name);
  if (trainer.exchange().rank() > 0) return;
  std::vector<std::string> all = checkpoints_in(run.folder);
  const std::size_t kept = static_cast<std::size_t>(run.keep_checkpoints);
  for (std::size_t i = 0; i + kept < all.size(); ++i) fs::remove(all[i]);
}

void write_whole(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

/// Tokens a second since the last call.
class Rate {
 public:
  double take(std::int64_t tokens) {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - then_).count();
    const double rate = seconds > 0 ? static_cast<double>(tokens - before_) / seconds : 0.0;
    then_ = now;
    before_ = tokens;
    return rate;
  }
  explicit Rate(std::int64_t tokens) : before_(tokens) {}

 private:
  std::chrono::steady_clock::time_point then_ = std::chrono::steady_clock::now();
  std::int64_t before_;
};

void print_summary(const Trainer& trainer) {
  const Recipe& recipe = trainer.recipe();
  const TokenText& text = trainer.text();
  const std::string length = recipe.schedule.flops > 0.0 ? format_quantity(recipe.schedule.flops, "FLOP") + " in steps"
                                                         : std::to_string(recipe.schedule.steps) + " steps";
  const int processes = trainer.exchange().ranks();
  std::string each = processes > 1 ? ", " + std::to_string(processes) + " processes of so many" : "";
  if (const std::int64_t parts = trainer.placement().experts; parts > 1)
    each += ", experts in " + std::to_string(parts) + " parts";
  std::fprintf(stderr, "%s; %d threads%s\n", describe_blas().c_str(), omp_get_max_threads(), each.c_str());
  std::fprintf(stderr, "%s: %s parameters; %s of %lld documents to train, %s of %lld to validate; %s of %s\n",
               recipe.name.c_str(),
               format_quantity(static_cast<double>(trainer.model().parameters().count()), "").c_str(),
               format_quantity(static_cast<double>(text.train.size()), "tokens").c_str(),
               static_cast<long long>(text.train_documents),
               format_quantity(static_cast<double>(text.validation.size()), "tokens").c_str(),
               static_cast<long long>(text.validation_documents), length.c_str(),
               format_quantity(static_cast<double>(recipe.batch.sequences * recipe.batch.length), "tokens").c_str());
  std::fprintf(stderr, "weights, gradients and moments: %s%s; activations of a block %s\n",
               bytes_text(static_cast<std::uint64_t>(trainer.state_bytes())).c_str(),
               processes > 1 ? " in this process" : "",
               recipe.batch.recompute_activations ? "are computed twice" : "are kept");
}

/// Of the process, text and libraries with it.
std::uint64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

/// A few steps of the same recipe, in a folder of its own that is begun anew.
void make_smoke(Json& json, const std::string& where) {
  const Recipe recipe = parse_recipe(json, where);
  json["schedule"]["steps"] = std::min(recipe.schedule.steps, kSmokeSteps);
  json["run"]["folder"] = recipe.run.folder + "-smoke";
  json["run"]["log_every"] = 1;
  json["run"]["evaluate_spans"] = std::min(recipe.run.evaluate_spans, kSmokeSpans);
  for (const std::string& old : checkpoints_in(recipe.run.folder + "-smoke")) fs::remove(old);
}

/// Units of the progress line: tokens, or where a budget ends the run, operations.
std::uint64_t units_done(const Trainer& trainer) {
  return trainer.recipe().schedule.flops > 0.0 ? static_cast<std::uint64_t>(trainer.ledger().flops)
                                               : static_cast<std::uint64_t>(trainer.ledger().tokens);
}
std::uint64_t units_in_all(const Trainer& trainer) {
  const Recipe& recipe = trainer.recipe();
  return recipe.schedule.flops > 0.0
             ? static_cast<std::uint64_t>(recipe.schedule.flops)
             : static_cast<std::uint64_t>(recipe.schedule.steps * recipe.batch.sequences * recipe.batch.length);
}

/// Trains to the end or to Ctrl-C, which returns false.
struct LastLosses {
  double train = 0.0, validation = 0.0;
};
bool train_on(Trainer& trainer, RunLog* log, LastLosses& losses) {
  const RunOptions& run = trainer.recipe().run;
  const InterruptGuard guard;
  const std::uint64_t begun = units_done(trainer), all = units_in_all(trainer);
  Progress progress("train", all > begun ? all - begun : 0, trainer.recipe().schedule.flops > 0.0 ? "FLOP" : "tokens",
                    log != nullptr ? ProgressStyle::kAuto : ProgressStyle::kSilent);
  std::uint64_t done = begun;
  Rate rate(trainer.ledger().tokens);
  const auto is_due = [&](std::int64_t every) { return every > 0 && (trainer.step() % every == 0 || trainer.done()); };
  while (!trainer.done()) {
    const StepReport report = trainer.train_step();
    losses.train = report.loss;
    if (log != nullptr && is_due(run.log_every)) log->add_step(report, trainer, rate.take(trainer.ledger().tokens));
    if (is_due(run.evaluate_every) && !trainer.text().validation.empty()) {
      losses.validation = trainer.evaluate();
      if (log != nullptr) log->add_validation(trainer.step(), losses.validation);
      trainer.note_validation(losses.validation);
    }
    const bool stop = any_rank(trainer.exchange(), take_interrupt());
    if (stop || is_due(run.checkpoint_every)) save_checkpoint(trainer);
    if (stop) return false;
    const std::uint64_t now = units_done(trainer);
    progress.advance(now - done);
    done = now;
  }
  return true;
}

/// The last line, to standard output.
void print_end(const Trainer& trainer, const LastLosses& losses) {
  std::printf("%s/%s: %lld steps%s, %s, %s executed", trainer.recipe().run.folder.c_str(),
              trainer.recipe().model.adapters ? "adapter" : "model.gguf", static_cast<long long>(trainer.step()),
              trainer.stopped_early() ? " (stopped early: validation got no better)" : "",
              format_quantity(static_cast<double>(trainer.ledger().tokens), "tokens").c_str(),
              format_quantity(trainer.ledger().flops, "FLOP").c_str());
  if (losses.train > 0.0) std::printf(", loss %.4f", losses.train);
  if (losses.validation > 0.0) std::printf(", validation %.4f nats a token", losses.validation);
  std::printf(", %s of memory at most\n", bytes_text(peak_memory_bytes()).c_str());
}

}  // namespace

int print_recipe_schema() {
  std::printf("%s\n", recipe_schema().dump(2).c_str());
  return 0;
}

int run_training(const RunRequest& request, Exchange& exchange) {
  Json json = parse_json(read_text_file(request.recipe, kMaxRecipeBytes), request.recipe);
  for (const std::string& assignment : request.set) set_field(json, assignment);
  if (request.smoke) make_smoke(json, request.recipe);
  Trainer trainer(parse_recipe(json, request.recipe), exchange);
  const RunOptions& run = trainer.recipe().run;
  const bool first = exchange.rank() == 0;
  if (first) print_summary(trainer);
  if (request.check) return 0;

  const std::vector<std::string> there = checkpoints_in(run.folder);
  if (!there.empty() && !request.resume) {
    fail(run.folder, "has checkpoints already; expected --resume or another run.folder");
  }
  std::error_code error;
  fs::create_directories(run.folder, error);
  if (error) fail(run.folder, "cannot be made: " + error.message());
  if (!there.empty()) trainer.load(there.back());
  std::optional<RunLog> log;
  if (first) {
    if (!there.empty()) std::fprintf(stderr, "goes on after step %lld\n", static_cast<long long>(trainer.step()));
    write_whole(run.folder + "/recipe.json", trainer.recipe().json.dump(2) + "\n");
    if (const std::string& tokenizer = trainer.text().tokenizer_json; !tokenizer.empty())
      write_whole(run.folder + "/tokenizer.json", tokenizer);
    log.emplace(run.folder, trainer.step(), run.tensorboard);
  }
  LastLosses losses;
  if (!train_on(trainer, log ? &*log : nullptr, losses)) {
    if (first)
      std::fprintf(stderr, "stopped after step %lld; --resume goes on\n", static_cast<long long>(trainer.step()));
    return 130;
  }
  trainer.export_model(run.folder);
  if (first) print_end(trainer, losses);
  return 0;
}

}  // namespace junto
