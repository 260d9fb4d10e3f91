#include "train/loop/run.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/interrupt.h"
#include "train/loop/export.h"
#include "train/loop/trainer.h"
#include "train/nn/blas.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRecipeBytes = 1 << 20, kMaxLogBytes = std::size_t{1} << 31;

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

void save_checkpoint(const Trainer& trainer) {
  const RunOptions& run = trainer.recipe().run;
  char name[64];
  std::snprintf(name, sizeof name, "/checkpoint-%010lld.safetensors", static_cast<long long>(trainer.step()));
  trainer.save(run.folder + name);
  std::vector<std::string> all = checkpoints_in(run.folder);
  const std::size_t kept = static_cast<std::size_t>(run.keep_checkpoints);
  for (std::size_t i = 0; i + kept < all.size(); ++i) fs::remove(all[i]);
}

void write_whole(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

/// log.jsonl: lines appended and flushed; what a run logged after the checkpoint from which it goes on is dropped.
class Log {
 public:
  Log(const std::string& path, std::int64_t step) {
    if (fs::exists(path)) {
      std::istringstream lines(read_text_file(path, kMaxLogBytes));
      std::string kept;
      for (std::string line; std::getline(lines, line);) {
        const Json entry = Json::parse(line, nullptr, false);
        if (entry.is_object() && entry.value("step", step + 1) <= step) kept += line + "\n";
      }
      write_whole(path, kept);
    }
    file_.reset(std::fopen(path.c_str(), "a"));
    if (file_ == nullptr) fail(path, std::string("cannot be written: ") + std::strerror(errno));
  }
  void add(const Json& entry) {
    std::fprintf(file_.get(), "%s\n", entry.dump().c_str());
    std::fflush(file_.get());
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
};

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

Json entry_of(const StepReport& report, const Trainer& trainer, double tokens_per_s) {
  const LossOptions& losses = trainer.recipe().losses;
  Json entry = {{"step", report.step},
                {"loss", report.loss},
                {"learning_rate", report.learning_rate},
                {"gradient_norm", report.gradient_norm},
                {"tokens", trainer.ledger().tokens},
                {"flops", trainer.ledger().flops},
                {"tokens_per_s", tokens_per_s}};
  if (losses.balance != 0.0f) entry["balance"] = report.balance;
  if (losses.z != 0.0f) entry["z"] = report.z;
  if (losses.entropy != 0.0f) entry["entropy"] = report.entropy;
  if (trainer.ledger().expert_rows > 0) {
    entry["expert_rows"] = trainer.ledger().expert_rows;
    entry["busiest_expert"] = report.busiest;
    entry["idle_experts"] = report.idle;
  }
  return entry;
}

void print_summary(const Trainer& trainer) {
  const Recipe& recipe = trainer.recipe();
  const TokenText& text = trainer.text();
  std::fprintf(stderr, "%s; %d threads\n", describe_blas().c_str(), omp_get_max_threads());
  std::fprintf(stderr, "%s: %s parameters; %s of %lld documents to train, %s of %lld to validate; %lld steps of %s\n",
               recipe.name.c_str(),
               format_quantity(static_cast<double>(trainer.model().parameters().count()), "").c_str(),
               format_quantity(static_cast<double>(text.train.size()), "tokens").c_str(),
               static_cast<long long>(text.train_documents),
               format_quantity(static_cast<double>(text.validation.size()), "tokens").c_str(),
               static_cast<long long>(text.validation_documents), static_cast<long long>(recipe.schedule.steps),
               format_quantity(static_cast<double>(recipe.batch.sequences * recipe.batch.length), "tokens").c_str());
}

}  // namespace

int run_training(const RunRequest& request) {
  Json json = parse_json(read_text_file(request.recipe, kMaxRecipeBytes), request.recipe);
  for (const std::string& assignment : request.set) set_field(json, assignment);
  Trainer trainer(parse_recipe(json, request.recipe));
  const RunOptions& run = trainer.recipe().run;
  print_summary(trainer);
  if (request.check) return 0;

  const std::vector<std::string> there = checkpoints_in(run.folder);
  if (!there.empty() && !request.resume) {
    fail(run.folder, "has checkpoints already; expected --resume or another run.folder");
  }
  std::error_code error;
  fs::create_directories(run.folder, error);
  if (error) fail(run.folder, "cannot be made: " + error.message());
  if (!there.empty()) {
    trainer.load(there.back());
    std::fprintf(stderr, "goes on after step %lld\n", static_cast<long long>(trainer.step()));
  }
  write_whole(run.folder + "/recipe.json", trainer.recipe().json.dump(2) + "\n");
  if (const std::string& tokenizer = trainer.text().tokenizer_json; !tokenizer.empty())
    write_whole(run.folder + "/tokenizer.json", tokenizer);
  Log log(run.folder + "/log.jsonl", trainer.step());

  const InterruptGuard guard;
  const std::int64_t tokens_per_step = trainer.recipe().batch.sequences * trainer.recipe().batch.length;
  const std::int64_t steps = trainer.recipe().schedule.steps;
  std::optional<Progress> progress(std::in_place, "train",
                                   static_cast<std::uint64_t>((steps - trainer.step()) * tokens_per_step), "tokens");
  Rate rate(trainer.ledger().tokens);
  const auto is_due = [&](std::int64_t every) { return every > 0 && (trainer.step() % every == 0 || trainer.done()); };
  double loss = 0.0, validation = 0.0;
  while (!trainer.done()) {
    const StepReport report = trainer.train_step();
    loss = report.loss;
    if (is_due(run.log_every)) log.add(entry_of(report, trainer, rate.take(trainer.ledger().tokens)));
    if (is_due(run.evaluate_every) && !trainer.text().validation.empty()) {
      validation = trainer.evaluate();
      log.add({{"step", trainer.step()}, {"validation_loss", validation}});
    }
    const bool stop = take_interrupt();
    if (stop || is_due(run.checkpoint_every)) save_checkpoint(trainer);
    if (stop) {
      progress.reset();
      std::fprintf(stderr, "stopped after step %lld; --resume goes on\n", static_cast<long long>(trainer.step()));
      return 130;
    }
    progress->advance(static_cast<std::uint64_t>(tokens_per_step));
  }
  progress.reset();
  const std::string path = run.folder + "/model.gguf";
  export_gguf(trainer.model(), trainer.text().tokenizer, path, trainer.recipe().name);
  std::printf("%s: %lld steps, %s, %s executed", path.c_str(), static_cast<long long>(trainer.step()),
              format_quantity(static_cast<double>(trainer.ledger().tokens), "tokens").c_str(),
              format_quantity(trainer.ledger().flops, "FLOP").c_str());
  if (loss > 0.0) std::printf(", loss %.4f", loss);
  if (validation > 0.0) std::printf(", validation %.4f nats a token", validation);
  std::printf("\n");
  return 0;
}

}  // namespace junto
