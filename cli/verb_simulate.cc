// junto simulate: a trace decoded through the expert cache of a machine that need not exist.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analyze/side_by_side.h"
#include "analyze/simulate.h"
#include "analyze/svg.h"
#include "analyze/traced_stages.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/expert_memory.h"
#include "cli/number_text.h"
#include "cli/session.h"
#include "cli/table.h"

namespace junto {
namespace {

constexpr int kSweepPoints = 16;

struct SimulateVerb {
  std::string trace, memory, evict = "all", disk, expert_bytes, hot_set, sweep, measured;
  std::string prefetch = "none", prefetch_trace, path_predictor;
  std::optional<float> compute_ms, dense_ms, arrive_ms, latency_ms, router_recall;
  int reads = SimulatedMachine().reads, prefetch_reads = SimulatedMachine().prefetch_reads, cores = 2;
  int warm_up = 0, tokens = 0, sequences = 1;
  bool json = false;
};

struct Point {
  Evict evict = Evict::kLfu;
  PrefetchRule prefetch;
  std::int64_t budget_bytes = 0;
  std::int64_t slots = 0;
  SimulationResult result;

  std::string name() const {
    const std::string guessing = prefetch == Prefetch::kNone ? "" : " + " + std::string(prefetch_name(prefetch));
    return std::string(evict_name(evict)) + guessing;
  }
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; true;) {
    const std::size_t comma = text.find(',', at);
    parts.push_back(text.substr(at, comma - at));
    if (comma == std::string::npos) return parts;
    at = comma + 1;
  }
}

std::vector<Evict> policies_of(const std::string& text) {
  if (text == "all") return {kAllEvictions.begin(), kAllEvictions.end()};
  std::vector<Evict> policies;
  for (const std::string& name : split(text)) {
    const auto found = std::ranges::find(kAllEvictions, name, evict_name);
    if (found == kAllEvictions.end()) {
      std::string names;
      for (const Evict policy : kAllEvictions) names += std::string(evict_name(policy)) + ", ";
      fail("--evict", "names " + printable(name) + ", expected " + names + "or all");
    }
    policies.push_back(*found);
  }
  return policies;
}

std::vector<PrefetchRule> rules_of(const std::string& text) {
  std::vector<PrefetchRule> rules;
  for (const std::string& name : split(text)) rules.push_back(parse_prefetch(name));
  return rules;
}

/// Experts that a token computes, in all feed-forward layers.
double experts_per_token(const RouteTrace& trace) {
  double slots = 0;
  for (const TracedLayer& layer : trace.layers) slots += layer.mixer ? 0 : static_cast<double>(layer.plan.slots());
  return slots / static_cast<double>(std::max<std::int64_t>(1, trace.tokens()));
}

SimulatedMachine machine_of(const SimulateVerb& options, const RouteTrace& trace) {
  SimulatedMachine machine;
  machine.disk_bytes_per_s = parse_rate(options.disk, "--disk");
  const double compute_s = *options.compute_ms / 1e3, dense_s = options.dense_ms.value_or(0) / 1e3;
  if (dense_s > compute_s) fail("--dense", "is more than --compute, of which it is a part");
  machine.dense_s = dense_s;
  machine.expert_s = (compute_s - dense_s) / std::max(1.0, experts_per_token(trace));
  machine.arrive_s = options.arrive_ms.value_or(0) / 1e3;
  machine.latency_s = options.latency_ms.value_or(0) / 1e3;
  machine.reads = options.reads;
  machine.prefetch_reads = options.prefetch_reads;
  machine.cores = options.cores;
  return machine;
}

std::vector<std::int64_t> budgets_of(const SimulateVerb& options, const RouteTrace& trace, std::int64_t expert_bytes) {
  std::vector<std::int64_t> budgets;
  if (!options.memory.empty()) {
    for (const std::string& one : split(options.memory)) budgets.push_back(parse_bytes(one, "--expert-memory"));
  } else if (!options.sweep.empty()) {
    const std::int64_t all = experts_of(trace);
    for (std::int64_t i = 1; i <= kSweepPoints; ++i) {
      budgets.push_back(std::max<std::int64_t>(1, all * i / kSweepPoints) * expert_bytes);
    }
  } else {
    fail("", "junto simulate needs --expert-memory SIZE or --sweep FILE; see junto simulate --help");
  }
  return budgets;
}

const Point* bound_of(const std::vector<Point>& points, const Point& point) {
  const auto found = std::ranges::find_if(points, [&](const Point& other) {
    return other.evict == Evict::kBelady && other.budget_bytes == point.budget_bytes &&
           other.prefetch == points.front().prefetch;
  });
  return found == points.end() ? nullptr : &*found;
}

Table table_of(const std::vector<Point>& points) {
  Table table{{{"expert memory", Align::kRight},
               {"slots", Align::kRight},
               {"evict"},
               {"in memory", Align::kRight},
               {"read/token", Align::kRight},
               {"of Belady's", Align::kRight},
               {"stalled/token", Align::kRight},
               {"tok/s", Align::kRight},
               {"in time, late, dropped, wasted"},
               {"recall", Align::kRight},
               {"precision", Align::kRight}},
              {}};
  for (const Point& point : points) {
    const SimulationResult& r = point.result;
    const auto tokens = static_cast<double>(r.tokens);
    const Point* bound = bound_of(points, point);
    const bool compares = bound && bound->result.bytes_read > 0;
    table.rows.push_back({format_quantity(static_cast<double>(point.budget_bytes), "B"), std::to_string(point.slots),
                          point.name(), fixed(100 * r.hit_ratio(), 1) + " %",
                          format_quantity(r.bytes_read / tokens, "B"),
                          compares ? fixed(r.bytes_read / bound->result.bytes_read, 2) : "",
                          fixed(1e3 * r.stall_s / tokens, 1) + " ms", fixed(r.tokens_per_s(), 2)});
    std::vector<std::string>& row = table.rows.back();
    const bool guessed = r.guessed > 0;
    row.push_back(guessed ? std::to_string(r.prefetch_hits) + ", " + std::to_string(r.late_prefetches) + ", " +
                                std::to_string(r.dropped_prefetches) + ", " + std::to_string(r.wasted_prefetches)
                          : "");
    row.push_back(guessed ? fixed(100 * r.recall(), 1) + " %" : "");
    row.push_back(guessed ? fixed(100 * r.precision(), 1) + " %" : "");
  }
  return table;
}

Json json_of(const std::vector<Point>& points) {
  Json out = Json::array();
  for (const Point& point : points) {
    const SimulationResult& r = point.result;
    out.push_back({{"evict", evict_name(point.evict)},
                   {"prefetch", prefetch_name(point.prefetch)},
                   {"expert_memory", point.budget_bytes},
                   {"slots", point.slots},
                   {"tokens", r.tokens},
                   {"hits", r.hits},
                   {"misses", r.misses},
                   {"hit_ratio", r.hit_ratio()},
                   {"prefetch_hits", r.prefetch_hits},
                   {"late_prefetches", r.late_prefetches},
                   {"wasted_prefetches", r.wasted_prefetches},
                   {"dropped_prefetches", r.dropped_prefetches},
                   {"guessed", r.guessed},
                   {"recall", r.recall()},
                   {"precision", r.precision()},
                   {"bytes_read", r.bytes_read},
                   {"stall_s", r.stall_s},
                   {"seconds", r.seconds},
                   {"tokens_per_s", r.tokens_per_s()}});
  }
  return out;
}

/// [{"evict", "expert_memory", "tokens_per_s"}...]: measurements, as dots beside the lines; "prefetch" is none without.
void add_measured(const std::string& path, LineChart& chart) {
  if (path.empty()) return;
  const Json list = parse_json(read_text_file(path, std::size_t{1} << 24), path);
  if (!list.is_array()) fail(path, "is no JSON list of measurements");
  for (const Json& one : list) {
    if (!one.is_object() || !one.value("evict", Json()).is_string() ||
        !one.value("expert_memory", Json()).is_number() || !one.value("tokens_per_s", Json()).is_number()) {
      fail(path, "has an entry without evict, expert_memory and tokens_per_s");
    }
    std::string name = one["evict"].get<std::string>();
    const std::string guesses = one.value("prefetch", std::string("none"));
    if (guesses != "none") name += " + " + guesses;
    for (Series& series : chart.series) {
      if (series.name != name) continue;
      series.marks.emplace_back(one["expert_memory"].get<double>() / 1e9, one["tokens_per_s"].get<double>());
    }
  }
}

void draw_sweep(const SimulateVerb& options, const std::vector<Point>& points, const RouteTrace& trace) {
  LineChart chart{"Tokens/s by memory for experts" + std::string(options.measured.empty() ? "" : "; dots: measured"),
                  "expert memory, GB",
                  "tokens/s",
                  {}};
  for (const Point& point : points) {
    const auto known = std::ranges::find(chart.series, point.name(), &Series::name);
    Series& series = known == chart.series.end()
                         ? chart.series.emplace_back(Series{point.name(), {}, point.evict == Evict::kBelady})
                         : *known;
    series.points.emplace_back(static_cast<double>(point.budget_bytes) / 1e9, point.result.tokens_per_s());
  }
  add_measured(options.measured, chart);
  for (const Series& series : chart.series) {
    for (const auto* list : {&series.points, &series.marks}) {
      for (const auto& point : *list) chart.y_high = std::max(chart.y_high, 1.05 * point.second);
    }
  }
  Svg svg(760, 480);
  svg.text(16, 22, trace.source + ", disk " + options.disk, 13);
  svg.draw(chart, {0, 36, 750, 440});
  AtomicFile file(options.sweep);
  file.write(svg.finish());
  file.commit();
}

int run_simulate(const SimulateVerb& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  const RouteTrace trace = read_trace(options.trace);
  const SimulatedMachine machine = machine_of(options, trace);
  const std::int64_t expert_bytes =
      options.expert_bytes.empty() ? expert_bytes_of(trace) : parse_bytes(options.expert_bytes, "--expert-bytes");
  if (expert_bytes == 0) fail(options.trace, "does not know the bytes of an expert; give --expert-bytes SIZE");
  const std::vector<Evict> policies = policies_of(options.evict);
  const std::vector<PrefetchRule> rules = rules_of(options.prefetch);
  const std::vector<double> popularity = popularity_of(options.hot_set.empty() ? trace : read_trace(options.hot_set));
  SimulatedRun run;
  run.warm_up = options.warm_up;
  run.sequences = options.sequences;
  std::int64_t all = 0;
  for (const TracedPass& pass : passes_of(trace, run.sequences)) all += std::ssize(pass);
  run.tokens = options.tokens > 0 ? options.tokens : all - options.warm_up;
  run.router_recall = options.router_recall.value_or(0);
  if (!options.prefetch_trace.empty()) {
    run.learned = std::make_shared<const PastRoutes>(past_routes_of(read_trace(options.prefetch_trace)));
  }
  ThreadPool pool(1);
  std::optional<PathPredictor> paths;
  if (!options.path_predictor.empty()) paths.emplace(load_path_predictor(options.path_predictor), pool);
  run.paths = paths ? &*paths : nullptr;
  const std::vector<std::int64_t> budgets = budgets_of(options, trace, expert_bytes);
  std::vector<Point> points;
  Progress progress("simulate", budgets.size() * policies.size() * rules.size(), "runs");
  for (const std::int64_t budget : budgets) {
    run.slots = std::min(budget / expert_bytes, experts_of(trace));
    for (const Evict policy : policies) {
      for (const PrefetchRule rule : rules) {
        run.evict = policy;
        run.prefetch = rule;
        points.push_back({policy, rule, budget, run.slots, simulate(trace, machine, run, expert_bytes, popularity)});
        progress.advance();
      }
    }
  }
  if (!options.sweep.empty()) draw_sweep(options, points, trace);
  std::printf("%s\n", options.json ? json_of(points).dump(1).c_str() : to_markdown(table_of(points)).c_str());
  return 0;
}

}  // namespace

Command simulate_command() {
  const auto options = std::make_shared<SimulateVerb>();
  Command command;
  command.name = "simulate";
  command.about = "Predict how fast a model larger than memory decodes, by budget, eviction policy and guesses";
  command.arguments = {
      {.name = "--trace", .target = &options->trace, .value = "FILE", .help = "Of junto trace", .required = true},
      {.name = "--expert-memory",
       .target = &options->memory,
       .value = "SIZE[,SIZE]",
       .help = "Memory for experts; may be left out with --sweep"},
      {.name = "--evict",
       .target = &options->evict,
       .value = "POLICY[,POLICY]",
       .help = "lru, lfu, lifo, layer, predicted, static, belady (the bound), or all (default)"},
      {.name = "--disk",
       .target = &options->disk,
       .value = "RATE",
       .help = "What the disk gives to direct reads: 0.6GB/s",
       .required = true},
      {.name = "--compute",
       .target = &options->compute_ms,
       .value = "MS",
       .help = "Milliseconds of a token with all experts in memory",
       .low = 0,
       .required = true},
      {.name = "--dense",
       .target = &options->dense_ms,
       .value = "MS",
       .help = "Of them, what is not routed experts (default 0)",
       .low = 0},
      {.name = "--arrive",
       .target = &options->arrive_ms,
       .value = "MS",
       .help = "Core milliseconds for bringing a read expert into the kernels' layout (default 0)",
       .low = 0},
      {.name = "--latency",
       .target = &options->latency_ms,
       .value = "MS",
       .help = "Of a read, before its first byte (default 0)",
       .low = 0},
      {.name = "--reads",
       .target = &options->reads,
       .value = "N",
       .help = "In flight (default 24)",
       .low = 1,
       .high = 256},
      {.name = "--prefetch-reads",
       .target = &options->prefetch_reads,
       .value = "N",
       .help = "Of them, at most so many that were guessed (default 8)",
       .low = 1,
       .high = 256},
      {.name = "--prefetch",
       .target = &options->prefetch,
       .value = "RULE[,RULE]",
       .help =
           "Guesses, as run has them: none (default), oracle, table, path, previous-token...; oracle knows the trace"},
      {.name = "--prefetch-trace",
       .target = &options->prefetch_trace,
       .value = "FILE",
       .help = "With --prefetch table: a trace that the table learns from beforehand"},
      {.name = "--path-predictor",
       .target = &options->path_predictor,
       .value = "FILE",
       .help = "With --prefetch path: what predicts the experts of the trace's tokens"},
      {.name = "--router-recall",
       .target = &options->router_recall,
       .value = "SHARE",
       .help = "With --prefetch next-router, which needs the model: the share of its guesses that are right (0.75), as "
               "a run prints it",
       .low = 0,
       .high = 1},
      {.name = "--sequences",
       .target = &options->sequences,
       .value = "N",
       .help =
           "Of the trace, decoded side by side (default 1): rows share what is read, so that a pass takes --dense and "
           "computes each expert once",
       .low = 1},
      {.name = "--cores", .target = &options->cores, .value = "N", .help = "Default 2", .low = 1, .high = 1024},
      {.name = "--expert-bytes",
       .target = &options->expert_bytes,
       .value = "SIZE",
       .help = "Of one expert, where the trace does not know"},
      {.name = "--hot-set",
       .target = &options->hot_set,
       .value = "FILE",
       .help = "The trace whose most used experts static keeps (default: the same one, with hindsight)"},
      {.name = "--warm-up",
       .target = &options->warm_up,
       .value = "N",
       .help = "Tokens before the clock starts (default 0)",
       .low = 0},
      {.name = "--tokens", .target = &options->tokens, .value = "N", .help = "Tokens to time (default all)", .low = 1},
      {.name = "--sweep",
       .target = &options->sweep,
       .value = "FILE",
       .help = "Draw tokens/s by expert memory for all policies, as SVG"},
      {.name = "--measured",
       .target = &options->measured,
       .value = "FILE",
       .help = "With --sweep: measurements to draw beside it, a JSON list of evict, expert_memory and tokens_per_s"},
      json_argument(options->json)};
  command.examples =
      "  junto simulate --trace t --expert-memory 1.2GiB,2GiB --disk 0.6GB/s --compute 30\n"
      "  junto simulate --trace t --expert-memory 2GiB --disk 2GB/s --compute 30 --prefetch none,oracle,table\n"
      "  junto simulate --trace t --sweep sweep.svg --disk 3GB/s --compute 12 --evict lru,lfu,belady\n";
  command.execute = [options] { return run_simulate(*options); };
  return command;
}

}  // namespace junto
