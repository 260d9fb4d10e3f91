// junto bench: tokens per second in llama-bench's table, and what share of the machine's memory bandwidth they make.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "analyze/route_replay.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/machine.h"
#include "cli/model_report.h"
#include "cli/number_text.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "generate/forward_rows.h"
#include "kernels/matmul.h"

namespace junto {
namespace {

struct BenchOptions {
  ModelOptions model;
  std::optional<std::string> prefill, decode, depth;
  int repeat = 5;
  std::string routes;
  std::string output = "md";
  bool json = false;
};

constexpr double kDiskProbe_s = 0.3;
// Warm-ups that fill the slots of streamed experts, whose memory is new to the process: steady state is measured.
constexpr int kMostFillings = 64;

/// pp512, or tg64 @ d4096.
struct BenchTest {
  bool prefill = true;
  std::int64_t tokens = 0;
  std::int64_t depth = 0;

  std::string name() const {
    return (prefill ? "pp" : "tg") + std::to_string(tokens) + (depth > 0 ? " @ d" + std::to_string(depth) : "");
  }
};

struct BenchResult {
  BenchTest test;
  std::vector<double> tokens_per_s;      // one a repetition
  std::vector<double> read_bytes_per_s;  // the machine's, measured before each repetition
  std::vector<double> disk_bytes_per_s;  // where experts are streamed: measured before and after each repetition
  std::vector<double> disk_shares;       // bytes streamed per second of each repetition against that
  double bytes_per_token = 0;
};

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

/// Of a sample: divided by n - 1.
double deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double centre = mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - centre) * (value - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double share_of_limit(const BenchResult& result) {
  const double limit = mean(result.read_bytes_per_s);
  return limit > 0 ? result.bytes_per_token * mean(result.tokens_per_s) / limit : 0;
}

/// "128,512".
std::vector<std::int64_t> parse_lengths(const std::optional<std::string>& given, const char* fallback,
                                        std::string_view name) {
  return parse_numbers(given ? *given : fallback, name, "whole numbers", std::int64_t{1} << 31);
}

/// The tests that were asked for, 0 leaving a kind out; of those by default only what the context holds.
std::vector<BenchTest> plan_tests(const BenchOptions& options, std::int64_t context, const std::string& where) {
  std::vector<BenchTest> tests;
  const auto add = [&](BenchTest test, bool asked) {
    const std::int64_t length = test.depth + test.tokens;
    if (length <= context) {
      tests.push_back(test);
    } else if (asked) {
      fail(where, test.name() + " has " + std::to_string(length) + " tokens, context is " + std::to_string(context));
    }
  };
  for (const std::int64_t depth : parse_lengths(options.depth, "0,4096", "--depth")) {
    const bool asked_depth = depth == 0 || options.depth;
    for (const std::int64_t tokens : parse_lengths(options.prefill, "128,512", "--prefill")) {
      if (tokens > 0) add({true, tokens, depth}, asked_depth && options.prefill);
    }
    for (const std::int64_t tokens : parse_lengths(options.decode, "64", "--decode")) {
      if (tokens > 0) add({false, tokens, depth}, asked_depth && (options.decode || options.depth));
    }
  }
  if (tests.empty()) {
    fail(where, "no test fits the context of " + std::to_string(context) + " tokens; see --prefill, --decode, --depth");
  }
  return tests;
}

/// Repeats tests on copies of one sequence, so that its depth is computed once.
class Bench {
 public:
  /// `hooks` of all calls; null: none.
  Bench(Session& session, int chunk, const Hooks* hooks)
      : session_(session), chunk_(chunk), hooks_(hooks), deep_(new_sequence(session)), probe_(*session.pool) {}

  BenchResult measure(const BenchTest& test, int repeat);

 private:
  std::vector<std::int32_t> random_ids(std::int64_t count);
  double repetition(const BenchTest& test);

  Session& session_;
  int chunk_;
  const Hooks* hooks_;
  std::mt19937 random_{1};
  Sequence deep_;  // of random ids, `depth` of them
  ReadProbe probe_;
};

std::vector<std::int32_t> Bench::random_ids(std::int64_t count) {
  std::uniform_int_distribution<std::int32_t> id(0, static_cast<std::int32_t>(session_.model->config.vocab_size - 1));
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& one : ids) one = id(random_);
  return ids;
}

/// Seconds of one repetition.
double Bench::repetition(const BenchTest& test) {
  Sequence sequence = deep_;
  const std::vector<std::int32_t> ids = random_ids(test.tokens);
  const double begin_s = now_s();
  if (test.prefill) {
    session_.decoder->feed(sequence, ids, chunk_, hooks_);
  } else {
    for (const std::int32_t& id : ids) forward_call(*session_.decoder, sequence, {&id, 1}, hooks_);
  }
  return now_s() - begin_s;
}

BenchResult Bench::measure(const BenchTest& test, int repeat) {
  if (deep_.length() != test.depth) {
    deep_ = new_sequence(session_);
    const std::vector<std::int32_t> ids = random_ids(test.depth);
    if (!ids.empty()) session_.decoder->feed(deep_, ids, chunk_, hooks_);
  }
  BenchResult result;
  result.test = test;
  BenchTest warm_up = test;
  warm_up.tokens = std::min<std::int64_t>(test.tokens, test.prefill ? 64 : 2);
  repetition(warm_up);
  ExpertCache* const cache = is_streaming(*session_.model) ? session_.model->cache.get() : nullptr;
  warm_up.tokens = test.prefill ? warm_up.tokens : 4;
  for (int i = 0; cache && cache->empty_slots() > 0 && i < kMostFillings; ++i) repetition(warm_up);
  for (int i = 0; i < repeat; ++i) {
    result.read_bytes_per_s.push_back(probe_.measure(0.03));
    session_.decoder->reset_counters();
    const double disk_before = cache ? cache->measure_disk(kDiskProbe_s) : 0;
    const std::int64_t streamed_before = cache ? cache->counters().bytes_read : 0;
    const double seconds = repetition(test);
    if (cache) {
      const std::int64_t streamed = cache->counters().bytes_read - streamed_before;
      const double disk = (disk_before + cache->measure_disk(kDiskProbe_s)) / 2;
      result.disk_bytes_per_s.push_back(disk);
      result.disk_shares.push_back(static_cast<double>(streamed) / seconds / disk);
    }
    result.tokens_per_s.push_back(static_cast<double>(test.tokens) / seconds);
    const DecoderCounters& work = session_.decoder->counters();
    result.bytes_per_token = static_cast<double>(work.bytes_read) / static_cast<double>(work.rows);
  }
  return result;
}

Table table_of(const std::vector<BenchResult>& results, const ModelReport& report, int threads) {
  Table table{{{"model"},
               {"size", Align::kRight},
               {"params", Align::kRight},
               {"backend"},
               {"threads", Align::kRight},
               {"test", Align::kRight},
               {"t/s", Align::kRight},
               {"read/token", Align::kRight},
               {"of read limit", Align::kRight}},
              {}};
  for (const BenchResult& result : results) {
    table.rows.push_back({short_name(report), format_quantity(static_cast<double>(report.bytes), "B"),
                          format_parameters(report.parameters), std::string(active_isa()), std::to_string(threads),
                          result.test.name(),
                          fixed(mean(result.tokens_per_s), 2) + " ± " + fixed(deviation(result.tokens_per_s), 2),
                          format_quantity(result.bytes_per_token, "B"),
                          fixed(100 * share_of_limit(result), 1) + " % of " +
                              format_quantity(mean(result.read_bytes_per_s), "B") + "/s"});
  }
  return table;
}

Json json_of(const std::vector<BenchResult>& results, const ModelReport& report, const Session& session,
             const ModelOptions& options, const std::string& routes) {
  Json out = Json::array();
  for (const BenchResult& result : results) {
    out.push_back({{"model", short_name(report)},
                   {"model_filename", report.path},
                   {"model_size", report.bytes},
                   {"model_n_params", report.parameters},
                   {"backend", active_isa()},
                   {"n_threads", session.pool->threads()},
                   {"type_kv", options.kv},
                   {"activations", options.activations},
                   {"policy", to_json(session.policy)},
                   {"routes", routes.empty() ? Json() : Json(routes)},
                   {"test", result.test.name()},
                   {"n_prompt", result.test.prefill ? result.test.tokens : 0},
                   {"n_gen", result.test.prefill ? 0 : result.test.tokens},
                   {"n_depth", result.test.depth},
                   {"avg_ts", mean(result.tokens_per_s)},
                   {"stddev_ts", deviation(result.tokens_per_s)},
                   {"samples_ts", result.tokens_per_s},
                   {"bytes_per_token", result.bytes_per_token},
                   {"read_bytes_per_s", mean(result.read_bytes_per_s)},
                   {"share_of_read_limit", share_of_limit(result)}});
    if (result.disk_shares.empty()) continue;
    out.back()["streaming"] = streaming_json(*session.model->cache, session.chunk);
    out.back()["streaming"]["disk_bytes_per_s"] = median(result.disk_bytes_per_s);
    out.back()["streaming"]["share_of_disk"] = median(result.disk_shares);
  }
  return out;
}

int run_bench(const BenchOptions& options) {
  const std::string output = options.json ? "json" : options.output;
  if (output == "json") set_default_progress_style(ProgressStyle::kSilent);
  ModelOptions model = options.model;
  model.lazy_experts = false;  // what is measured is not the start
  Session session = open_session(model);
  if (is_streaming(*session.model)) session.model->cache->record_asks();
  const ContextLimit context = context_limit(session, std::nullopt);
  const std::vector<BenchTest> tests = plan_tests(options, context.tokens, session.checkpoint.path);
  std::int64_t longest = 0;
  for (const BenchTest& test : tests) longest = std::max(longest, test.depth + test.tokens);
  start_decoder(session, longest);
  const ModelReport report = report_model(session.checkpoint, *session.model);
  std::unique_ptr<RouteReplay> replay;
  Hooks hooks;
  if (!options.routes.empty()) {
    replay = std::make_unique<RouteReplay>(read_trace(options.routes), session.model->config, options.routes);
    hooks = replay->hooks();
  }
  Bench bench(session, session.chunk, replay ? &hooks : nullptr);
  std::vector<BenchResult> results;
  Progress progress("bench", tests.size(), "tests");
  for (const BenchTest& test : tests) {
    results.push_back(bench.measure(test, options.repeat));
    progress.advance();
  }
  const Table table = table_of(results, report, session.pool->threads());
  if (output == "json") {
    std::printf("%s\n", json_of(results, report, session, options.model, options.routes).dump(1).c_str());
  } else {
    std::fputs((output == "csv" ? to_csv(table) : to_markdown(table)).c_str(), stdout);
  }
  if (is_streaming(*session.model)) {
    print_note(streaming_line(*session.model->cache));
    for (const BenchResult& result : results) {
      print_note(result.test.name() + ": " + fixed(100 * median(result.disk_shares), 0) + " % of the " +
                 format_quantity(median(result.disk_bytes_per_s), "B") +
                 "/s that the disk gives to direct reads of experts at random offsets (" +
                 std::string(session.model->cache->engine()) + ")");
    }
  }
  return 0;
}

}  // namespace

Command bench_command() {
  const auto options = std::make_shared<BenchOptions>();
  Command command;
  command.name = "bench";
  command.about = "Measure prompt and decode speed, and their share of the machine's limits";
  command.arguments = model_arguments(options->model);
  const std::vector<Argument> own = {
      {.name = "--prefill", .target = &options->prefill, .value = "128,512", .help = "Prompt lengths; 0 for none"},
      {.name = "--decode", .target = &options->decode, .value = "64", .help = "Answer lengths; 0 for none"},
      {.name = "--depth", .target = &options->depth, .value = "0,4096", .help = "Tokens in the context before"},
      {.name = "--routes",
       .target = &options->routes,
       .value = "FILE",
       .help = "A trace whose experts take the place of the router's (junto trace): random token ids or weights route "
               "without skew"},
      {.name = "--repeat",
       .target = &options->repeat,
       .value = "N",
       .help = "Repetitions (default 5)",
       .low = 1,
       .high = 1000},
      {.name = "-o,--output",
       .target = &options->output,
       .help = "Form of the table (default md)",
       .choices = {"md", "csv", "json"}},
      json_argument(options->json)};
  command.arguments.insert(command.arguments.begin() + 1, own.begin(), own.end());
  command.examples =
      "  junto bench model.gguf\n"
      "  junto bench model.gguf --prefill 512 --decode 128 --depth 0,4096 -o csv\n"
      "  junto bench moe.gguf --prefill 0 --policy top_k=1 --threads 4\n"
      "  junto bench moe.gguf --prefill 0 --routes zipf.trace --expert-memory 1.2GiB\n"
      "Token ids are random. Tests that the context does not hold are left out unless asked for. Between repetitions\n"
      "the machine's read bandwidth is measured: the limit of decoding.\n";
  command.execute = [options] { return run_bench(*options); };
  return command;
}

}  // namespace junto
