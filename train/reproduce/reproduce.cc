#include "train/reproduce/reproduce.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/fetch.h"
#include "cli/interrupt.h"
#include "train/loop/recipe.h"
#include "train/nn/blas.h"
#include "train/reproduce/plan.h"
#include "train/reproduce/result.h"
#include "train/reproduce/trunk.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxResultBytes = 1 << 28;
constexpr std::int64_t kTuningSeed = 1000000;

std::string folder_of(const ReproduceArguments& given) {
  return given.runs + "/" + given.slug + (given.smoke ? "-smoke" : "");
}

std::string out_of(const ReproduceArguments& given) {
  if (!given.out.empty()) return given.out;
  return given.smoke ? folder_of(given) + "/result.json" : "results/" + given.slug + ".json";
}

void make_folder(const std::string& folder) {
  std::error_code error;
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error) fail(folder, "cannot be made: " + error.message());
}

void keep_only(Experiment& experiment, const std::string& names) {
  if (names.empty()) return;
  std::vector<Arm> kept;
  for (std::size_t at = 0; at <= names.size();) {
    const std::size_t comma = std::min(names.find(',', at), names.size());
    kept.push_back(arm_of(experiment, names.substr(at, comma - at)));
    at = comma + 1;
  }
  for (const Arm& arm : kept) {
    const bool there = arm.tuned_as.empty() || std::ranges::count(kept, arm.tuned_as, &Arm::name) > 0;
    if (!there) fail("--arms", arm.name + " takes the learning rate of " + arm.tuned_as + ": name it too");
  }
  for (Arm& arm : kept) {  // without its trunk it trains from the start
    if (std::ranges::count(kept, arm.trunk, &Arm::name) == 0) arm.trunk.clear();
  }
  experiment.arms = std::move(kept);
}

/// Runs what is not kept yet. First what no other process has; then what others had and left.
class Runner {
 public:
  Runner(const Setting& setting, std::string label, const std::vector<Run>& all, Pace& pace)
      : setting_(setting), label_(std::move(label)), all_(trunks_of(setting.experiment, all)), pace_(pace) {
    total_ = all.size();
  }

  /// False after Ctrl-C.
  bool run(const std::vector<Run>& runs) {
    for (const bool wait : {false, true}) {
      for (const TrunkRuns& trunk : trunks_of(setting_.experiment, runs)) {
        if (std::ranges::all_of(trunk, [&](const Run& run) { return is_kept(run); })) continue;
        const RowClaim claim(path_of(trunk.back()), wait);
        if (!claim.held()) continue;
        const auto keep = [&](const Run& run, const Json& row) {
          keep_row(path_of(run), row);
          pace_.add(planned_flops(setting_.experiment, run, trunk), row.at("seconds"));
          say(run, row);
        };
        if (!run_trunk(
                setting_, trunk, [&](const Run& run) { return is_kept(run); }, keep, take_interrupt))
          return false;
      }
    }
    return true;
  }

 private:
  std::string path_of(const Run& run) const {
    return row_path(setting_.experiment, run, setting_.texts, setting_.machine, setting_.folder);
  }
  bool is_kept(const Run& run) const { return fs::exists(path_of(run)); }

  void say(const Run& run, const Json& row) {
    ++done_;
    double left = 0.0;
    for (const TrunkRuns& trunk : all_) {
      for (const Run& one : trunk) {
        if (!is_kept(one)) left += pace_.seconds_of(planned_flops(setting_.experiment, one, trunk));
      }
    }
    const std::string metric = loss_metric_of(row.at("metrics"));
    std::fprintf(stderr, "%s %s: %s seed %lld, rate %s: %.4f bits a %s, %.1f s (%zu of %zu%s)\n",
                 setting_.experiment.slug.c_str(), label_.c_str(), run.arm.c_str(), static_cast<long long>(run.seed),
                 row.at("learning_rate").dump().c_str(),
                 row.at("metrics").at((run.tuning ? "tune_" : "") + metric).get<double>(),
                 metric == "path_bits" ? "path" : "byte", row.at("seconds").get<double>(), done_, total_,
                 left > 0.0 ? (", " + format_duration(left) + " left").c_str() : "");
  }

  const Setting& setting_;
  std::string label_;
  const std::vector<TrunkRuns> all_;
  Pace& pace_;
  std::size_t total_ = 0, done_ = 0;
};

std::vector<Json> kept_rows(const Setting& setting, const std::vector<Run>& runs) {
  std::vector<Json> rows;
  for (const Run& run : runs) {
    if (auto row = kept_row(row_path(setting.experiment, run, setting.texts, setting.machine, setting.folder))) {
      rows.push_back(std::move(*row));
    }
  }
  return rows;
}

/// Seed by seed until all are done, the budget is spent, or Ctrl-C (false).
bool run_finals(const Setting& setting, const std::vector<Run>& finals, Pace& pace, double budget_s,
                std::chrono::steady_clock::time_point begin) {
  Runner runner(setting, "seeds", finals, pace);
  for (std::size_t first = 0, end = 0; first < finals.size(); first = end) {
    while (end < finals.size() && finals[end].seed == finals[first].seed) ++end;
    const std::vector<Run> of_seed(finals.begin() + static_cast<std::ptrdiff_t>(first),
                                   finals.begin() + static_cast<std::ptrdiff_t>(end));
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    double seconds = 0.0;
    for (const TrunkRuns& trunk : trunks_of(setting.experiment, of_seed)) {
      for (const Run& run : trunk) seconds += pace.seconds_of(planned_flops(setting.experiment, run, trunk));
    }
    if (budget_s > 0.0 && elapsed + seconds > budget_s) {
      std::fprintf(stderr, "%s: the budget ends before seed %lld would; the next call goes on\n",
                   setting.experiment.slug.c_str(), static_cast<long long>(finals[first].seed));
      return true;
    }
    if (!runner.run(of_seed)) return false;
  }
  return true;
}

int verify(const Setting& setting, const std::string& path) {
  const Json result = parse_json(read_text_file(path, kMaxResultBytes), path);
  const Json machine = to_json(setting.machine);
  for (const char* key : {"processor", "threads", "sources", "compiler", "blas"}) {
    if (result.at("machine").at(key) == machine.at(key)) continue;
    fail(path, std::string("is of another ") + key + ": " + printable(result["machine"][key].dump()) + ", here " +
                   printable(machine[key].dump()) + "; equal bits are promised for the same one only");
  }
  for (const Json& text : result.at("texts")) {
    const auto same = [&](const DomainText& mine) { return text.at("sha256") == mine.sha256; };
    if (std::ranges::none_of(setting.texts, same))
      fail(path, "was trained on another " + printable(text.at("file").dump()));
  }
  for (const Json& arm : result.at("arms")) {
    const bool wanted = std::ranges::count(setting.experiment.arms, arm.at("name").get<std::string>(), &Arm::name) > 0;
    if (!wanted || arm.at("runs").empty()) continue;
    const Json& kept = arm["runs"].front();
    const Run run{.arm = arm["name"], .seed = kept.at("seed"), .learning_rate = kept.at("learning_rate")};
    const Json row = run_arm(setting.experiment, run, setting.texts, setting.folder);
    const bool same = row.at("curve") == kept.at("curve") && row.at("metrics") == kept.at("metrics");
    std::printf("%s seed %lld: %s\n", run.arm.c_str(), static_cast<long long>(run.seed),
                same ? "every loss and metric is the same bits" : "differs from the result");
    return same ? 0 : 1;
  }
  fail(path, "holds no run of these arms");
}

void write_result(const std::string& path, const Json& result) {
  make_folder(fs::path(path).parent_path().string());
  AtomicFile file(path);
  file.write(result.dump() + "\n");
  file.commit();
}

}  // namespace

std::int64_t seeds_of(const Experiment& experiment, const Arm& arm) {
  return arm.seeds > 0 ? arm.seeds : experiment.seeds;
}

double parse_duration(std::string_view text, std::string_view where) {
  const std::string number(text.substr(0, text.empty() ? 0 : text.size() - 1));
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  const bool good = !number.empty() && *end == '\0' && value > 0.0 && value < 1e9;
  const char unit = text.empty() ? '?' : text.back();
  if (good && unit == 'h') return value * 3600.0;
  if (good && unit == 'm') return value * 60.0;
  if (good && unit == 's') return value;
  fail(where, "is " + printable(text) + ", expected a time such as 2h, 90m or 300s");
}

Setting make_setting(const ReproduceArguments& given) {
  const std::string file = given.systems + "/" + given.slug + "/experiment.json";
  Setting out{.experiment = read_experiment(file, given.smoke), .texts = {}, .machine = {}, .folder = folder_of(given)};
  if (out.experiment.slug != given.slug)
    fail(file, "slug is " + printable(out.experiment.slug) + ", expected " + given.slug);
  keep_only(out.experiment, given.arms);
  if (given.seeds) {
    out.experiment.seeds = *given.seeds;
    for (Arm& arm : out.experiment.arms) arm.seeds = 0;
  }
  const std::int64_t length = out.experiment.recipe.value("/batch/length"_json_pointer, BatchOptions{}.length);
  const std::string beside = fs::path(given.systems).parent_path().string();
  const std::string texts = !given.texts.empty() ? given.texts
                            : !given.smoke       ? cache_directory()
                            : beside.empty()     ? "."
                                                 : beside;
  out.texts = read_texts(out.experiment, texts, length);
  for (const Arm& arm : out.experiment.arms) {  // mistakes are named before hours of work
    parse_recipe(recipe_of(out.experiment, {.arm = arm.name}, out.texts, out.folder), file + ": " + arm.name);
  }
  check_trunks(out.experiment, out.texts);
  out.machine = this_machine(use_threads(given.threads));
  return out;
}

std::vector<Run> tuning_runs(const Experiment& experiment) {
  std::vector<Run> out;
  if (experiment.learning_rates.size() < 2) return out;
  for (std::int64_t seed = 0; seed < experiment.tuning_seeds; ++seed) {
    for (const double rate : experiment.learning_rates) {
      for (const Arm& arm : experiment.arms) {
        if (!arm.tuned_as.empty()) continue;
        out.push_back({.arm = arm.name, .seed = kTuningSeed + seed, .tuning = true, .learning_rate = rate});
      }
    }
  }
  return out;
}

std::vector<double> chosen_rates(const Experiment& experiment, const std::vector<Json>& rows) {
  std::vector<double> out;
  for (const Arm& arm : experiment.arms) {
    if (experiment.learning_rates.size() < 2) {
      out.push_back(experiment.learning_rates.empty() ? 0.0 : experiment.learning_rates.front());
      continue;
    }
    const std::string& tuned = arm.tuned_as.empty() ? arm.name : arm.tuned_as;
    std::map<double, std::vector<double>> losses;
    for (const Json& row : rows) {
      if (row.at("arm") == tuned) {
        const Json& metrics = row.at("metrics");
        losses[row.at("learning_rate")].push_back(metrics.at("tune_" + loss_metric_of(metrics)));
      }
    }
    if (losses.empty()) fail(experiment.slug, "no learning rate of arm " + tuned + " has run");
    const auto mean = [](const auto& entry) { return mean_interval(entry.second).mean; };
    out.push_back(std::ranges::min_element(losses, {}, mean)->first);
  }
  return out;
}

std::vector<Run> final_runs(const Experiment& experiment, const std::vector<double>& rates) {
  std::vector<Run> out;
  std::int64_t most = 0;
  for (const Arm& arm : experiment.arms) most = std::max(most, seeds_of(experiment, arm));
  for (std::int64_t seed = 1; seed <= most; ++seed) {
    for (std::size_t i = 0; i < experiment.arms.size(); ++i) {
      if (seed > seeds_of(experiment, experiment.arms[i])) continue;
      out.push_back({.arm = experiment.arms[i].name, .seed = seed, .learning_rate = rates[i]});
    }
  }
  return out;
}

int reproduce(const ReproduceArguments& given) {
  const auto begin = std::chrono::steady_clock::now();
  const double budget_s = given.budget.empty() ? 0.0 : parse_duration(given.budget, "--budget");
  const Setting setting = make_setting(given);
  if (given.dry_run) return print_plan(setting);
  make_folder(setting.folder);
  if (given.verify) return verify(setting, out_of(given));
  const InterruptGuard guard;
  const std::vector<Run> tuning = tuning_runs(setting.experiment);
  Pace pace;
  if (!Runner(setting, "learning rates", tuning, pace).run(tuning)) return 130;
  const std::vector<Json> tuned = kept_rows(setting, tuning);
  if (!pace.known()) {
    for (const Json& row : tuned) pace.add(row.value("own_flops", 0.0), row.at("seconds"));
  }
  const std::vector<double> rates = chosen_rates(setting.experiment, tuned);
  const std::vector<Run> finals = final_runs(setting.experiment, rates);
  const bool whole = run_finals(setting, finals, pace, budget_s, begin);
  const Json result = result_of(setting, rates, finals, tuned, kept_rows(setting, finals));
  const std::string path = out_of(given);
  write_result(path, result);
  if (given.json) {
    std::printf("%s\n", result.dump().c_str());
  } else {
    std::printf("%s\n%s: %s, %s, %s executed\n", describe(result).c_str(), path.c_str(),
                result["mode"].get<std::string>().c_str(), format_duration(result["seconds"]).c_str(),
                format_quantity(result["flops"], "FLOP").c_str());
  }
  return whole ? 0 : 130;
}

}  // namespace junto
