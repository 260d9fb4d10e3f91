// junto trace: records which experts a text uses.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analyze/route_recorder.h"
#include "analyze/route_trace.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/session.h"

namespace junto {
namespace {

struct TraceVerb {
  ModelOptions model;
  std::string file, ids, out;
  std::optional<int> context;
  int tokens = 0;  // at most; 0: all
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
  const std::shared_ptr<const ExpertTable> table = model.experts->snapshot();
  const std::vector<const RoutedBlock*> blocks = recorder.blocks();
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i]->mixer) continue;
    for (const ExpertWeights* expert : table->layers[static_cast<std::size_t>(blocks[i]->block)].experts) {
      trace.layers[i].expert_bytes = std::max(trace.layers[i].expert_bytes, static_cast<std::int64_t>(expert->bytes()));
    }
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
    session.decoder->feed(sequence, ids, options.model.chunk, &hooks);
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

int run_trace(const TraceVerb& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  if (options.model.path.empty()) fail("", "junto trace needs MODEL; see junto trace --help");
  if (options.out.empty()) fail("", "junto trace needs --out FILE; see junto trace --help");
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

}  // namespace

Command trace_command() {
  const auto options = std::make_shared<TraceVerb>();
  Command command;
  command.name = "trace";
  command.about = "Record which experts every token of a text uses";
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
       .help = "Only the first N tokens of the text",
       .low = 1},
      json_argument(options->json)};
  command.arguments.insert(command.arguments.begin() + 1, own.begin(), own.end());
  command.examples = "  junto trace moe.gguf -f wiki.txt --out wiki.trace\n";
  command.execute = [options] { return run_trace(*options); };
  return command;
}

}  // namespace junto
