// junto simulate: a trace decoded through the expert cache of a machine that need not exist.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analyze/simulate.h"
#include "analyze/svg.h"
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
  std::optional<float> compute_ms, dense_ms, arrive_ms, latency_ms;
  int reads = 4, cores = 2;
  int warm_up = 0, tokens = 0;
  bool json = false;
};

struct Point {
  Evict evict = Evict::kLfu;
  std::int64_t budget_bytes = 0;
  std::int64_t slots = 0;
  SimulationResult result;
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

/// "0.6GB/s".
double parse_rate(const std::string& text) {
  if (!text.ends_with("/s")) fail("--disk", "is " + printable(text) + ", expected a rate such as 0.6GB/s");
  const std::int64_t bytes = parse_bytes(std::string_view(text).substr(0, text.size() - 2), "--disk");
  if (bytes == 0) fail("--disk", "is " + printable(text) + ", expected more than nothing");
  return static_cast<double>(bytes);
}

/// Experts that a token computes, in all feed-forward layers.
double experts_per_token(const RouteTrace& trace) {
  double slots = 0;
  for (const TracedLayer& layer : trace.layers) slots += layer.mixer ? 0 : static_cast<double>(layer.plan.slots());
  return slots / static_cast<double>(std::max<std::int64_t>(1, trace.tokens()));
}

SimulatedMachine machine_of(const SimulateVerb& options, const RouteTrace& trace) {
  SimulatedMachine machine;
  machine.disk_bytes_per_s = parse_rate(options.disk);
  const double compute_s = *options.compute_ms / 1e3, dense_s = options.dense_ms.value_or(0) / 1e3;
  if (dense_s > compute_s) fail("--dense", "is more than --compute, of which it is a part");
  machine.dense_s = dense_s;
  machine.expert_s = (compute_s - dense_s) / std::max(1.0, experts_per_token(trace));
  machine.arrive_s = options.arrive_ms.value_or(0) / 1e3;
  machine.latency_s = options.latency_ms.value_or(0) / 1e3;
  machine.reads = options.reads;
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
    return other.evict == Evict::kBelady && other.budget_bytes == point.budget_bytes;
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
               {"tok/s", Align::kRight}},
              {}};
  for (const Point& point : points) {
    const SimulationResult& r = point.result;
    const auto tokens = static_cast<double>(r.tokens);
    const Point* bound = bound_of(points, point);
    const bool compares = bound && bound->result.bytes_read > 0;
    table.rows.push_back({format_quantity(static_cast<double>(point.budget_bytes), "B"), std::to_string(point.slots),
                          std::string(evict_name(point.evict)), fixed(100 * r.hit_ratio(), 1) + " %",
                          format_quantity(r.bytes_read / tokens, "B"),
                          compares ? fixed(r.bytes_read / bound->result.bytes_read, 2) : "",
                          fixed(1e3 * r.stall_s / tokens, 1) + " ms", fixed(r.tokens_per_s(), 2)});
  }
  return table;
}

Json json_of(const std::vector<Point>& points) {
  Json out = Json::array();
  for (const Point& point : points) {
    const SimulationResult& r = point.result;
    out.push_back({{"evict", evict_name(point.evict)},
                   {"expert_memory", point.budget_bytes},
                   {"slots", point.slots},
                   {"tokens", r.tokens},
                   {"hits", r.hits},
                   {"misses", r.misses},
                   {"hit_ratio", r.hit_ratio()},
                   {"bytes_read", r.bytes_read},
                   {"stall_s", r.stall_s},
                   {"seconds", r.seconds},
                   {"tokens_per_s", r.tokens_per_s()}});
  }
  return out;
}

/// [{"evict", "expert_memory", "tokens_per_s"}...]: measurements, as dots beside the lines.
void add_measured(const std::string& path, const std::vector<Evict>& policies, LineChart& chart) {
  if (path.empty()) return;
  const Json list = parse_json(read_text_file(path, std::size_t{1} << 24), path);
  if (!list.is_array()) fail(path, "is no JSON list of measurements");
  for (const Json& one : list) {
    if (!one.is_object() || !one.value("evict", Json()).is_string() ||
        !one.value("expert_memory", Json()).is_number() || !one.value("tokens_per_s", Json()).is_number()) {
      fail(path, "has an entry without evict, expert_memory and tokens_per_s");
    }
    for (std::size_t i = 0; i < policies.size(); ++i) {
      if (one["evict"].get<std::string>() != evict_name(policies[i])) continue;
      chart.series[i].marks.emplace_back(one["expert_memory"].get<double>() / 1e9, one["tokens_per_s"].get<double>());
    }
  }
}

void draw_sweep(const SimulateVerb& options, const std::vector<Point>& points, const std::vector<Evict>& policies,
                const RouteTrace& trace) {
  LineChart chart{"Tokens/s by memory for experts" + std::string(options.measured.empty() ? "" : "; dots: measured"),
                  "expert memory, GB",
                  "tokens/s",
                  {}};
  for (const Evict policy : policies) {
    Series series{std::string(evict_name(policy)), {}, policy == Evict::kBelady};
    for (const Point& point : points) {
      if (point.evict != policy) continue;
      series.points.emplace_back(static_cast<double>(point.budget_bytes) / 1e9, point.result.tokens_per_s());
    }
    chart.series.push_back(std::move(series));
  }
  add_measured(options.measured, policies, chart);
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
  const std::vector<double> popularity = popularity_of(options.hot_set.empty() ? trace : read_trace(options.hot_set));
  SimulatedRun run;
  run.warm_up = options.warm_up;
  run.tokens = options.tokens > 0 ? options.tokens : trace.tokens() - options.warm_up;
  const std::vector<std::int64_t> budgets = budgets_of(options, trace, expert_bytes);
  std::vector<Point> points;
  Progress progress("simulate", budgets.size() * policies.size(), "runs");
  for (const std::int64_t budget : budgets) {
    run.slots = std::min(budget / expert_bytes, experts_of(trace));
    for (const Evict policy : policies) {
      run.evict = policy;
      points.push_back({policy, budget, run.slots, simulate(trace, machine, run, expert_bytes, popularity)});
      progress.advance();
    }
  }
  if (!options.sweep.empty()) draw_sweep(options, points, policies, trace);
  std::printf("%s\n", options.json ? json_of(points).dump(1).c_str() : to_markdown(table_of(points)).c_str());
  return 0;
}

}  // namespace

Command simulate_command() {
  const auto options = std::make_shared<SimulateVerb>();
  Command command;
  command.name = "simulate";
  command.about = "Predict how fast a model larger than memory decodes, by budget and eviction policy";
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
       .help = "In flight (default 4)",
       .low = 1,
       .high = 256},
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
      "  junto simulate --trace t --sweep sweep.svg --disk 3GB/s --compute 12 --evict lru,lfu,belady\n";
  command.execute = [options] { return run_simulate(*options); };
  return command;
}

}  // namespace junto
