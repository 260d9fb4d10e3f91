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
#include "cli/table.h"
#include "train/loop/recipe.h"
#include "train/nn/blas.h"
#include "train/reproduce/result.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxResultBytes = 1 << 28;
constexpr std::int64_t kTuningSeed = 1000000, kProbeSteps = 3;

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
  experiment.arms = std::move(kept);
}

std::int64_t seeds_of(const Experiment& experiment, const Arm& arm) {
  return arm.seeds > 0 ? arm.seeds : experiment.seeds;
}

/// Runs what is not kept yet. First what no other process has; then what others had and left.
class Runner {
 public:
  Runner(const Setting& setting, std::string label, std::size_t total)
      : setting_(setting), label_(std::move(label)), total_(total) {}

  /// False after Ctrl-C.
  bool run(const std::vector<Run>& runs) {
    for (const bool wait : {false, true}) {
      for (const Run& run : runs) {
        const std::string path = row_path(setting_.experiment, run, setting_.texts, setting_.machine, setting_.folder);
        if (kept_row(path)) continue;
        const RowClaim claim(path, wait);
        if (!claim.held() || kept_row(path)) continue;
        if (take_interrupt()) return false;
        const Json row = run_arm(setting_.experiment, run, setting_.texts, setting_.folder);
        keep_row(path, row);
        say(run, row);
      }
    }
    return true;
  }

 private:
  void say(const Run& run, const Json& row) {
    ++done_;
    std::fprintf(stderr, "%s %s: %s seed %lld, rate %s: %.4f bits a byte, %.1f s (%zu of %zu)\n",
                 setting_.experiment.slug.c_str(), label_.c_str(), run.arm.c_str(), static_cast<long long>(run.seed),
                 row.at("learning_rate").dump().c_str(),
                 row.at("metrics").at(run.tuning ? "tune_bits_per_byte" : "bits_per_byte").get<double>(),
                 row.at("seconds").get<double>(), done_, total_);
  }

  const Setting& setting_;
  std::string label_;
  std::size_t total_, done_ = 0;
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

/// Steps of a run: what the schedule says, or what its budget of operations pays for where those are fewer.
double steps_of(const Setting& setting, const Arm& arm, const StepCost& cost) {
  const Json recipe = recipe_of(setting.experiment, {.arm = arm.name, .seed = 1}, setting.texts, setting.folder);
  const double flops = parse_recipe(recipe, arm.name).schedule.flops, most = static_cast<double>(cost.steps_of_run);
  return flops > 0.0 ? std::min(most, std::ceil(flops / cost.flops)) : most;
}

int dry_run(const Setting& setting) {
  const Experiment& experiment = setting.experiment;
  Table table{{{"arm"},
               {"tuning runs", Align::kRight},
               {"seeds", Align::kRight},
               {"parameters", Align::kRight},
               {"steps", Align::kRight},
               {"FLOP a run", Align::kRight},
               {"minutes in all", Align::kRight},
               {"memory", Align::kRight}},
              {}};
  double minutes = 0.0, flops = 0.0;
  const std::vector<Run> tuning = tuning_runs(experiment);
  for (const Arm& arm : experiment.arms) {
    const StepCost cost = probe_arm(experiment, {.arm = arm.name, .seed = 1}, setting.texts, kProbeSteps);
    const auto grid = static_cast<std::int64_t>(std::ranges::count(tuning, arm.name, &Run::arm));
    const auto runs = static_cast<double>(grid + seeds_of(experiment, arm)), steps = steps_of(setting, arm, cost);
    const double mine = runs * steps * cost.seconds / 60.0;
    minutes += mine, flops += runs * steps * cost.flops;
    char in_all[32];
    std::snprintf(in_all, sizeof in_all, "%.1f", mine);
    table.rows.push_back({arm.name, std::to_string(grid), std::to_string(seeds_of(experiment, arm)),
                          format_quantity(static_cast<double>(cost.parameters), ""),
                          std::to_string(static_cast<std::int64_t>(steps)), format_quantity(steps * cost.flops, ""),
                          in_all, format_quantity(static_cast<double>(cost.bytes), "B")});
  }
  std::printf(
      "%s\nin all %s, %.1f minutes on %d thread%s as this machine is now; a variable number of experts is counted as "
      "at "
      "the first steps\n",
      to_plain(table).c_str(), format_quantity(flops, "FLOP").c_str(), minutes, setting.machine.threads,
      setting.machine.threads == 1 ? "" : "s");
  return 0;
}

/// Mean seconds of finished runs, of all arms together: what one more is expected to take.
double seconds_of_seed(const std::vector<Json>& rows, std::size_t arms) {
  double sum = 0.0;
  for (const Json& row : rows) sum += row.at("seconds").get<double>();
  return rows.empty() ? 0.0 : sum / static_cast<double>(rows.size()) * static_cast<double>(arms);
}

/// Seed by seed until all are done, the budget is spent, or Ctrl-C (false).
bool run_finals(const Setting& setting, const std::vector<Run>& finals, const std::vector<Json>& tuned, double budget_s,
                std::chrono::steady_clock::time_point begin) {
  Runner runner(setting, "seeds", finals.size());
  std::vector<Json> so_far = tuned;
  for (std::size_t first = 0, end = 0; first < finals.size(); first = end) {
    while (end < finals.size() && finals[end].seed == finals[first].seed) ++end;
    const std::vector<Run> of_seed(finals.begin() + static_cast<std::ptrdiff_t>(first),
                                   finals.begin() + static_cast<std::ptrdiff_t>(end));
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (budget_s > 0.0 && elapsed + seconds_of_seed(so_far, of_seed.size()) > budget_s) {
      std::fprintf(stderr, "%s: the budget ends before seed %lld would; the next call goes on\n",
                   setting.experiment.slug.c_str(), static_cast<long long>(finals[first].seed));
      return true;
    }
    if (!runner.run(of_seed)) return false;
    for (Json& row : kept_rows(setting, of_seed)) so_far.push_back(std::move(row));
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
      if (row.at("arm") == tuned) losses[row.at("learning_rate")].push_back(row.at("metrics").at("tune_bits_per_byte"));
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
  if (given.dry_run) return dry_run(setting);
  make_folder(setting.folder);
  if (given.verify) return verify(setting, out_of(given));
  const InterruptGuard guard;
  const std::vector<Run> tuning = tuning_runs(setting.experiment);
  if (!Runner(setting, "learning rates", tuning.size()).run(tuning)) return 130;
  const std::vector<Json> tuned = kept_rows(setting, tuning);
  const std::vector<double> rates = chosen_rates(setting.experiment, tuned);
  const std::vector<Run> finals = final_runs(setting.experiment, rates);
  const bool whole = run_finals(setting, finals, tuned, budget_s, begin);
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
