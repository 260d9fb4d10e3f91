// junto trace: records which experts a text uses, counts what a trace holds, makes synthetic ones.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analyze/device_step.h"
#include "analyze/generate_trace.h"
#include "analyze/measure_schedule.h"
#include "analyze/prediction_quality.h"
#include "analyze/route_recorder.h"
#include "analyze/route_trace.h"
#include "analyze/trace_stats.h"
#include "analyze/traced_stages.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/number_text.h"
#include "cli/session.h"
#include "cli/table.h"

namespace junto {
namespace {

struct TraceVerb {
  ModelOptions model;
  std::string file, ids, out;
  std::optional<int> context;
  int tokens = 0;  // at most; 0: all
  std::string stats, picture;
  std::string predict, learn;
  int warm_up = 0;
  int schedule = 0;  // sequences of a batch
  int devices = 0, batch = 256;
  int pairs = 3;
  std::string generate;
  int layers = 0, experts = 0, per_token = 0;
  std::string expert_bytes;
  std::uint64_t seed = 0;
  bool json = false;
};

std::string quantity(std::int64_t bytes) {
  return format_quantity(static_cast<double>(bytes), "B");
}

std::vector<std::int32_t> text_of(const TraceVerb& options, Session& session) {
  if (options.file.empty() == options.ids.empty()) fail("", "expected either --file or --ids");
  std::vector<std::int32_t> text;
  if (options.ids.empty()) {
    text = require_tokenizer(session).encode(read_text_argument(options.file), false);
  } else {
    text = parse_ids(options.ids, "--ids", session.model->config.vocab_size);
  }
  if (options.tokens > 0 && static_cast<std::size_t>(options.tokens) < text.size()) {
    text.resize(static_cast<std::size_t>(options.tokens));
  }
  if (text.empty()) fail(options.file.empty() ? "--ids" : options.file, "has no tokens");
  return text;
}

/// What a window begins with: a text's BOS where the tokenizer adds one.
std::vector<std::int32_t> window_start(const TraceVerb& options, const Session& session) {
  if (options.ids.empty() && session.tokenizer->add_bos() && session.tokenizer->bos_id()) {
    return {*session.tokenizer->bos_id()};
  }
  return {};
}

void note_expert_bytes(const RouteRecorder& recorder, const Model& model, RouteTrace& trace) {
  const std::vector<const RoutedBlock*> blocks = recorder.blocks();
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (!blocks[i]->mixer) trace.layers[i].expert_bytes = expert_bytes_of(model, blocks[i]->block);
  }
}

RouteTrace record(const TraceVerb& options, Session& session, std::int64_t context) {
  const std::vector<std::int32_t> text = text_of(options, session);
  const std::vector<std::int32_t> start = window_start(options, session);
  const std::size_t window = static_cast<std::size_t>(context) - start.size();
  RouteRecorder recorder(session.model->config);
  const Hooks hooks = recorder.hooks();
  std::vector<std::int32_t> token;
  std::vector<std::int64_t> begins;
  Progress progress("trace", text.size(), "tokens");
  for (std::size_t first = 0; first < text.size(); first += window) {
    const std::size_t count = std::min(window, text.size() - first);
    std::vector<std::int32_t> ids = start;
    ids.insert(ids.end(), text.begin() + static_cast<std::ptrdiff_t>(first),
               text.begin() + static_cast<std::ptrdiff_t>(first + count));
    begins.push_back(static_cast<std::int64_t>(token.size()));
    token.insert(token.end(), ids.begin(), ids.end());
    Sequence sequence = new_sequence(session);
    session.decoder->feed(sequence, ids, session.chunk, &hooks);
    progress.advance(count);
  }
  if (recorder.blocks().empty()) fail(session.checkpoint.path, "has no routed layer to trace");
  RouteTrace trace = make_trace(recorder, session.model->config, std::move(token), std::move(begins));
  note_expert_bytes(recorder, *session.model, trace);
  trace.source = session.checkpoint.path + (options.file.empty() ? "" : " on " + options.file);
  return trace;
}

void save(const RouteTrace& trace, const std::string& out, bool json) {
  const std::vector<std::byte> bytes = serialize_trace(trace);
  write_trace(trace, out);
  const auto size = static_cast<std::int64_t>(bytes.size());
  if (json) {
    const Json report = {{"out", out},
                         {"tokens", trace.tokens()},
                         {"layers", trace.layers.size()},
                         {"sequences", trace.sequence_begin.size()},
                         {"bytes", size}};
    std::printf("%s\n", report.dump().c_str());
    return;
  }
  std::printf("%s: %lld tokens in %zu sequences, %zu layers, %s\n", out.c_str(), static_cast<long long>(trace.tokens()),
              trace.sequence_begin.size(), trace.layers.size(), quantity(size).c_str());
}

int run_record(const TraceVerb& options) {
  if (options.model.path.empty()) fail("", "junto trace needs MODEL; see junto trace --help");
  Session session = open_session(options.model);
  const std::int64_t longest = session.model->config.context_length;
  const std::int64_t window = options.context.value_or(std::min<std::int64_t>(longest, 512));
  if (window > longest) {
    fail("--context", "is " + std::to_string(window) + ", expected 2.." + std::to_string(longest) +
                          ", the context of " + session.checkpoint.path);
  }
  start_decoder(session, window);
  save(record(options, session, window), options.out, options.json);
  return 0;
}

int run_generate(const TraceVerb& options) {
  const TraceRecipe recipe = parse_trace_recipe(options.generate, "--generate");
  if (options.tokens < 1) fail("", "--generate needs --tokens N");
  TraceShape shape;
  if (options.model.path.empty()) {
    const std::int64_t bytes = options.expert_bytes.empty() ? 0 : parse_bytes(options.expert_bytes, "--expert-bytes");
    shape = make_trace_shape(options.layers, options.experts, options.per_token, bytes);
  } else {
    shape = shape_of(*load_model(open_model_file(options.model.path)));
  }
  save(generate_trace(shape, recipe, options.tokens, options.seed), options.out, options.json);
  return 0;
}

std::string pairs_text(const LayerStats& layer) {
  std::string text;
  for (const ExpertPair& pair : layer.pairs) {
    text += (text.empty() ? "" : ", ") + std::to_string(pair.a) + "+" + std::to_string(pair.b) + " " +
            fixed(pair.lift, 1) + "x";
  }
  return text;
}

Table stats_table(const TraceStats& stats) {
  Table table{{{"layer"},
               {"experts", Align::kRight},
               {"a token", Align::kRight},
               {"entropy", Align::kRight},
               {"top quarter", Align::kRight},
               {"repeated", Align::kRight},
               {"reuse median", Align::kRight},
               {"p90", Align::kRight},
               {"together"}},
              {}};
  for (const LayerStats& layer : stats.layers) {
    table.rows.push_back({(layer.mixer ? "attn " : "") + std::to_string(layer.layer) +
                              (layer.round > 0 ? "." + std::to_string(layer.round) : ""),
                          std::to_string(layer.experts), fixed(layer.per_token, 1),
                          fixed(layer.entropy_bits, 2) + " of " + fixed(std::log2(layer.experts), 2) + " bits",
                          fixed(100 * layer.top_quarter, 1) + " %", fixed(100 * layer.repeats, 1) + " %",
                          std::to_string(layer.reuse_quantile(0.5)), std::to_string(layer.reuse_quantile(0.9)),
                          pairs_text(layer)});
  }
  return table;
}

int run_stats(const TraceVerb& options) {
  const RouteTrace trace = read_trace(options.stats);
  const TraceStats stats = measure_trace(trace, options.pairs);
  if (!options.picture.empty()) {
    AtomicFile file(options.picture);
    file.write(draw_trace(trace, stats));
    file.commit();
  }
  if (options.json) {
    std::printf("%s\n", to_json(stats).dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    return 0;
  }
  std::printf("%s: %lld tokens in %zu sequences\n%s", printable(stats.source, 200).c_str(),
              static_cast<long long>(stats.tokens), trace.sequence_begin.size(),
              to_markdown(stats_table(stats)).c_str());
  return 0;
}

std::vector<PrefetchRule> rules_to_predict(const std::string& text, bool paths) {
  std::vector<PrefetchRule> rules;
  if (text == "all") {
    for (const NamedPrefetch& named : all_prefetch_rules()) {
      const bool all_ahead = named.rule == PrefetchRule(Prefetch::kPath) && paths;  // it says them at once
      if (named.rule.rule != Prefetch::kNone && (!goes_by_scores(named.rule) || all_ahead)) rules.push_back(named.rule);
    }
    return rules;
  }
  for (std::size_t at = 0; at != std::string::npos;) {
    const std::size_t comma = text.find(',', at);
    rules.push_back(parse_prefetch(text.substr(at, comma - at), "--predict"));
    at = comma == std::string::npos ? comma : comma + 1;
  }
  return rules;
}

Json prediction_json(const PredictionQuality& found) {
  return {{"rule", prefetch_name(found.rule)},
          {"guessed", found.guessed},
          {"guessed_bytes", found.guessed_bytes},
          {"right", found.right},
          {"asked", found.asked},
          {"recall", found.recall()},
          {"precision", found.precision()}};
}

Table prediction_table(const std::vector<PredictionQuality>& all) {
  Table table{{{"guess"},
               {"guessed", Align::kRight},
               {"bytes", Align::kRight},
               {"right", Align::kRight},
               {"recall", Align::kRight},
               {"precision", Align::kRight}},
              {}};
  for (const PredictionQuality& found : all) {
    table.rows.push_back({std::string(prefetch_name(found.rule)), std::to_string(found.guessed),
                          found.guessed_bytes > 0 ? format_quantity(found.guessed_bytes, "B") : "",
                          std::to_string(found.right), fixed(100 * found.recall(), 1) + " %",
                          fixed(100 * found.precision(), 1) + " %"});
  }
  return table;
}

int run_predict(const TraceVerb& options) {
  if (options.model.path.empty()) fail("", "--predict needs a trace: junto trace TRACE --predict RULE");
  const std::string& predictor = options.model.experts.path_predictor;
  const std::vector<PrefetchRule> rules = rules_to_predict(options.predict, !predictor.empty());
  const RouteTrace trace = read_trace(options.model.path);
  std::shared_ptr<const PastRoutes> learned;
  if (!options.learn.empty()) learned = std::make_shared<const PastRoutes>(past_routes_of(read_trace(options.learn)));
  std::vector<PredictionQuality> all;
  ThreadPool pool(1);
  std::optional<PathPredictor> paths;
  if (!predictor.empty()) paths.emplace(load_path_predictor(predictor), pool);
  for (const PrefetchRule rule : rules)
    all.push_back(measure_prediction(trace, rule, learned, options.warm_up, paths ? &*paths : nullptr));
  if (options.json) {
    Json list = Json::array();
    for (const PredictionQuality& found : all) list.push_back(prediction_json(found));
    std::printf("%s\n", list.dump().c_str());
    return 0;
  }
  std::printf("%s\n", to_markdown(prediction_table(all)).c_str());
  return 0;
}

/// Means over `kScheduleSeeds` first medoids.
ScheduleQuality schedule_quality(const TraceVerb& options, const RouteTrace& trace, const TokenPaths& shown) {
  constexpr int kScheduleSeeds = 3;
  ScheduleQuality mean;
  for (std::uint64_t seed = 0; seed < kScheduleSeeds; ++seed) {
    const ScheduleQuality found = measure_schedule(trace, shown, options.schedule, options.seed + seed);
    mean.units = found.units;
    mean.original = found.original;
    mean.random += found.random / kScheduleSeeds;
    mean.scheduled += found.scheduled / kScheduleSeeds;
  }
  return mean;
}

int run_schedule(const TraceVerb& options) {
  if (options.model.path.empty()) fail("", "--schedule needs a trace: junto trace TRACE --schedule N");
  const RouteTrace trace = read_trace(options.model.path);
  const ScheduleQuality real = schedule_quality(options, trace, paths_of(trace));
  Json out = {{"batch", options.schedule},
              {"units", real.units},
              {"original", real.original},
              {"random", real.random},
              {"scheduled", real.scheduled}};
  if (const std::string& predictor = options.model.experts.path_predictor; !predictor.empty()) {
    ThreadPool pool(1);
    PathPredictor paths(load_path_predictor(predictor), pool);
    out["scheduled_by_prediction"] = schedule_quality(options, trace, predicted_paths_of(trace, paths)).scheduled;
  }
  if (options.json) {
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  Table table{{{"batches of " + std::to_string(options.schedule)},
               {"experts a layer", Align::kRight},
               {"fewer", Align::kRight}},
              {}};
  for (const char* name : {"original", "random", "scheduled", "scheduled_by_prediction"}) {
    if (!out.contains(name)) continue;
    const double experts = out[name];
    const double fewer = real.original > 0 ? 1 - experts / real.original : 0;
    table.rows.push_back({name, fixed(experts, 3), fixed(100 * fewer, 1) + " %"});
  }
  std::printf("%s\n", to_markdown(table).c_str());
  return 0;
}

int run_devices(const TraceVerb& options) {
  if (options.model.path.empty()) fail("", "--devices needs a trace: junto trace TRACE --devices N");
  const RouteTrace trace = read_trace(options.model.path);
  const DeviceRows rows = device_rows(trace, options.devices, options.batch);
  const double tokens = static_cast<double>(std::max<std::int64_t>(1, trace.tokens()));
  if (options.json) {
    const Json report = {{"devices", options.devices},
                         {"batch", options.batch},
                         {"slowest_rows_per_token", rows.slowest / tokens},
                         {"mean_rows_per_token", rows.mean / tokens},
                         {"waiting", rows.waiting()}};
    std::printf("%s\n", report.dump().c_str());
    return 0;
  }
  std::printf(
      "%d devices, steps of %d tokens, all layers: the slowest device computes %s rows a token, the mean one %s; "
      "devices "
      "wait %s %% of the time\n",
      options.devices, options.batch, fixed(rows.slowest / tokens, 3).c_str(), fixed(rows.mean / tokens, 3).c_str(),
      fixed(100 * rows.waiting(), 1).c_str());
  return 0;
}

int run_trace(const TraceVerb& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  if (!options.stats.empty() && !options.generate.empty()) fail("", "--stats and --generate exclude each other");
  if (!options.predict.empty()) return run_predict(options);
  if (options.schedule > 0) return run_schedule(options);
  if (options.devices > 0) return run_devices(options);
  if (!options.learn.empty()) fail("--learn", "is for --predict");
  if (!options.stats.empty()) return run_stats(options);
  if (options.out.empty()) fail("", "junto trace needs --out FILE; see junto trace --help");
  return options.generate.empty() ? run_record(options) : run_generate(options);
}

}  // namespace

Command trace_command() {
  const auto options = std::make_shared<TraceVerb>();
  Command command;
  command.name = "trace";
  command.about = "Record which experts every token of a text uses, and what that says";
  command.arguments = model_arguments(options->model);
  command.arguments[0].required = false;
  const std::vector<Argument> own = {
      {.name = "-f,--file", .target = &options->file, .value = "FILE", .help = "The text; - is standard input"},
      {.name = "--ids", .target = &options->ids, .value = "1,2,3", .help = "Token ids instead of a text"},
      {.name = "--out", .target = &options->out, .value = "FILE", .help = "The trace to write"},
      {.name = "--context",
       .target = &options->context,
       .value = "N",
       .help = "Tokens of a window, each a fresh sequence (default 512)",
       .low = 2},
      {.name = "--tokens",
       .target = &options->tokens,
       .value = "N",
       .help = "Only the first N tokens of the text; with --generate, how many",
       .low = 1},
      {.name = "--stats",
       .target = &options->stats,
       .value = "FILE",
       .help = "Instead of recording: popularity, entropy, reuse and co-activation of a trace"},
      {.name = "--picture", .target = &options->picture, .value = "FILE", .help = "With --stats: also draw it as SVG"},
      {.name = "--pairs",
       .target = &options->pairs,
       .value = "N",
       .help = "With --stats: pairs of experts a layer (default 3)",
       .low = 0},
      {.name = "--predict",
       .target = &options->predict,
       .value = "RULE[,RULE]",
       .help =
           "Instead of recording: how well the rules of --prefetch, or all of them (path with --path-predictor), guess "
           "what the trace that stands in MODEL's place asks for"},
      {.name = "--learn",
       .target = &options->learn,
       .value = "FILE",
       .help = "With --predict: another trace, which table learns from beforehand"},
      {.name = "--warm-up",
       .target = &options->warm_up,
       .value = "N",
       .help = "With --predict: tokens that are learned from and not counted (default 0)",
       .low = 0},
      {.name = "--schedule",
       .target = &options->schedule,
       .value = "N",
       .help = "Instead of recording: how many experts a layer has to have for a batch of N of the trace's sequences, "
               "and how many where two batches are parted by the paths of their tokens (by predicted ones too, with "
               "--path-predictor)",
       .low = 1},
      {.name = "--devices",
       .target = &options->devices,
       .value = "N",
       .help =
           "Instead of recording: what a layer costs where its experts stand on N devices that wait for the slowest",
       .low = 1},
      {.name = "--batch",
       .target = &options->batch,
       .value = "N",
       .help = "With --devices: tokens of a step (default 256)",
       .low = 1},
      {.name = "--generate",
       .target = &options->generate,
       .value = "RECIPE",
       .help =
           "Instead of recording: a synthetic trace of MODEL's shape, or of the four options below; uniform, zipf:S, "
           "repeat:P or zipf:1.0,repeat:0.5"},
      {.name = "--layers",
       .target = &options->layers,
       .value = "N",
       .help = "With --generate: routed layers",
       .low = 1},
      {.name = "--experts", .target = &options->experts, .value = "N", .help = "With --generate: of a layer", .low = 1},
      {.name = "--top-k",
       .target = &options->per_token,
       .value = "N",
       .help = "With --generate: experts that a token chooses",
       .low = 1},
      {.name = "--expert-bytes",
       .target = &options->expert_bytes,
       .value = "SIZE",
       .help = "With --generate: of one expert, for the simulator"},
      {.name = "--seed", .target = &options->seed, .value = "S", .help = "With --generate (default 0)"},
      json_argument(options->json)};
  command.arguments.insert(command.arguments.begin() + 1, own.begin(), own.end());
  command.examples =
      "  junto trace moe.gguf -f wiki.txt --out wiki.trace\n"
      "  junto trace --stats wiki.trace --picture wiki.svg\n"
      "  junto trace wiki.trace --predict all\n"
      "  junto trace wiki.trace --schedule 8\n"
      "  junto trace wiki.trace --devices 8\n"
      "  junto trace moe.gguf --generate zipf:1.0,repeat:0.5 --tokens 2000 --out zipf.trace\n"
      "  junto trace --generate uniform --layers 16 --experts 64 --top-k 8 --tokens 500 --out uniform.trace\n";
  command.execute = [options] { return run_trace(*options); };
  return command;
}

}  // namespace junto
