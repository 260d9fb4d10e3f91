// junto run: one prompt, one answer.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/answer_line.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/machine.h"
#include "cli/routing_picture.h"
#include "cli/sampling_arguments.h"
#include "cli/session.h"
#include "cli/speculation_arguments.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "format/chat_prompt.h"
#include "generate/generate.h"

namespace junto {
namespace {

constexpr double kDiskProbe_s = 0.3;

struct RunOptions {
  ModelOptions model;
  SamplingArguments sampling;
  SpeculationArguments speculation;
  std::optional<std::string> prompt, ids, file, system;
  std::optional<int> context;
  bool raw = false;
  bool show_routing = false;
  bool stats = false;
  bool json = false;
};

OrderedJson messages_of(const std::optional<std::string>& system, const std::string& text) {
  OrderedJson messages = OrderedJson::array();
  if (system) messages.push_back({{"role", "system"}, {"content", *system}});
  messages.push_back({{"role", "user"}, {"content", text}});
  return messages;
}

/// The tokenizer for the text of an answer to ids: what does not load is not needed.
void load_tokenizer_if_possible(Session& session) {
  try {
    session.tokenizer = load_tokenizer(session.checkpoint);
  } catch (const Error& error) {
    warn(std::string(error.what()) + "; the answer is token ids");
  }
}

std::vector<std::int32_t> prompt_ids(const RunOptions& options, Session& session) {
  const int given = (options.prompt ? 1 : 0) + (options.ids ? 1 : 0) + (options.file ? 1 : 0);
  if (given != 1) {
    fail("", "junto run needs one of -p TEXT, --ids 1,2,3 and -f FILE; " + std::to_string(given) + " are given");
  }
  if (options.ids) {
    if (options.system) fail("--system", "goes through the chat template, which --ids does not");
    load_tokenizer_if_possible(session);
    return parse_ids(*options.ids, "--ids", session.model->config.vocab_size);
  }
  const std::string text = options.prompt ? *options.prompt : read_text_argument(*options.file);
  const Tokenizer& tokenizer = require_tokenizer(session);
  if (!options.raw) {
    if (const std::optional<ModelChat> chat = load_model_chat(session.checkpoint)) {
      return encode_chat(*chat, tokenizer, messages_of(options.system, text));
    }
  }
  if (options.system) {
    fail("--system",
         options.raw ? "goes through the chat template, which --raw does not" : "the model has no chat template");
  }
  return tokenizer.encode(text, true);
}

std::vector<std::string> token_labels(const Sequence& sequence, const Session& session) {
  std::vector<std::string> labels;
  for (const std::int32_t id : sequence.tokens) {
    if (!session.tokenizer) {
      labels.push_back(std::to_string(id));
    } else if (session.tokenizer->is_special(id)) {
      labels.emplace_back(session.tokenizer->token(id));
    } else {
      labels.push_back(session.tokenizer->decode({&id, 1}, false));
    }
  }
  return labels;
}

/// All that streaming cost; where disk_bytes_per_s is not 0 also that and "share_of_disk".
Json streaming_figures(const Session& session, double disk_bytes_per_s) {
  const ExpertCacheCounters c = session.model->cache->counters();
  Json out = streaming_json(*session.model->cache, session.chunk);
  out["prefetch_hits"] = c.prefetch_hits;
  out["late_prefetches"] = c.late_prefetches;
  out["wasted_prefetches"] = c.wasted_prefetches;
  if (disk_bytes_per_s > 0) {
    out["disk_bytes_per_s"] = disk_bytes_per_s;
    out["share_of_disk"] = out["bytes_read_per_s"].get<double>() / disk_bytes_per_s;
  }
  return out;
}

Json answer_json(const std::vector<std::int32_t>& prompt, const Generated& answer, const Session& session,
                 double disk_bytes_per_s) {
  Json json = {{"prompt_ids", prompt},
               {"ids", answer.ids},
               {"text", answer.text},
               {"timings", timings_json(answer)},
               {"speculation", speculation_json(answer)},
               {"routing", routing_json(session.model->config, answer)}};
  if (is_streaming(*session.model)) json["streaming"] = streaming_figures(session, disk_bytes_per_s);
  return json;
}

void print_answer_end(const Generated& answer, const Session& session) {
  if (!session.tokenizer) {
    for (std::size_t i = 0; i < answer.ids.size(); ++i) std::printf("%s%d", i > 0 ? "," : "", answer.ids[i]);
  }
  if (!answer.text.ends_with('\n')) std::printf("\n");
  std::fflush(stdout);
}

void print_stats(const Session& session, double disk_bytes_per_s) {
  if (!is_streaming(*session.model)) {
    return print_note(session.checkpoint.path + " stays in memory: nothing is streamed");
  }
  const Json figures = streaming_figures(session, disk_bytes_per_s);
  Table table{{{"streaming"}, {"", Align::kRight}}, {}};
  const auto add = [&](const char* title, const char* key) {
    if (figures.contains(key)) table.rows.push_back({title, figures[key].dump()});
  };
  add("experts in memory", "slots");
  add("of experts", "experts");
  add("asked for and there", "hits");
  add("share that was there", "hit_ratio");
  add("Belady's share of the same", "belady_hit_ratio");
  add("demand misses", "misses");
  add("bytes read", "bytes_read");
  add("bytes read per second", "bytes_read_per_s");
  add("bytes per second that the disk gives", "disk_bytes_per_s");
  add("share of that", "share_of_disk");
  add("seconds stalled", "stall_s");
  add("choices moved to experts in memory", "preferred_slots");
  add("choices left out as late", "skipped_slots");
  add("prefetched in time", "prefetch_hits");
  add("prefetched late", "late_prefetches");
  add("prefetched for nothing", "wasted_prefetches");
  add("guesses dropped in time", "dropped_prefetches");
  add("share of what was asked for that was guessed", "recall");
  add("share of guesses that were right", "precision");
  std::fputs(to_plain(table).c_str(), stderr);
}

int run_run(const RunOptions& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  Session session = open_session(options.model);
  const std::string& where = session.checkpoint.path;
  const ContextLimit context = context_limit(session, options.context);
  const std::vector<std::int32_t> prompt = prompt_ids(options, session);
  const auto tokens = static_cast<std::int64_t>(prompt.size());
  check_prompt_fits(tokens, context.tokens, where);
  if (!options.context && context.tokens < context.model_tokens) warn(where + ": " + context.describe());
  GenerateOptions generation = generate_options(options.sampling, session, context, session.chunk);
  start_decoder(session,
                generation.max_tokens < 0 ? context.tokens : std::min(context.tokens, tokens + generation.max_tokens));
  const std::unique_ptr<Speculator> speculator = make_speculator(options.speculation, session);
  generation.speculator = speculator.get();
  generation.interrupted = &interrupt_flag();
  if (!options.json) generation.on_text = print_streamed;
  RouteRecorder recorder(session.model->config);
  const Hooks hooks = recorder.hooks();
  if (options.show_routing) generation.hooks = &hooks;

  const bool stats = options.stats && is_streaming(*session.model);
  if (stats) session.model->cache->record_asks();
  const InterruptGuard guard;
  Sequence sequence = new_sequence(session);
  const Generated answer =
      generate(*session.decoder, session.tokenizer ? &*session.tokenizer : nullptr, sequence, prompt, generation);
  const double disk = stats ? session.model->cache->measure_disk(kDiskProbe_s) : 0;
  if (options.json) {
    std::printf("%s\n", answer_json(prompt, answer, session, disk).dump().c_str());
  } else {
    print_answer_end(answer, session);
  }
  if (options.show_routing) {
    std::FILE* out = options.json ? stderr : stdout;
    const RoutingPicture picture{terminal_width(out), wants_colour(out)};
    std::fputs(draw_routing(session.model->config, recorder.blocks(), token_labels(sequence, session), picture).c_str(),
               out);
  }
  if (options.stats) print_stats(session, disk);
  const std::string note = ending_note(answer, context, options.sampling.max_tokens.has_value());
  if (!note.empty()) print_note(note);
  const std::int64_t used = sequence.length() + (answer.ids.empty() ? 0 : 1);
  print_note(answer_line(session, answer, used, context, read_bandwidth(*session.pool)));
  return answer.ending == Ending::kInterrupted ? 130 : 0;
}

}  // namespace

Command run_command() {
  const auto options = std::make_shared<RunOptions>();
  Command command;
  command.name = "run";
  command.about = "Answer a prompt, or continue a text";
  command.arguments = {
      model_argument(options->model.path),
      {.name = "-p,--prompt",
       .target = &options->prompt,
       .value = "TEXT",
       .help = "The prompt: a user's turn where the model has a chat template"},
      {.name = "--ids", .target = &options->ids, .value = "1,2,3", .help = "Token ids to continue, as they are"},
      {.name = "-f,--file",
       .target = &options->file,
       .value = "FILE",
       .help = "The prompt from a file; - is standard input"},
      {.name = "--raw", .target = &options->raw, .help = "Continue the text plainly, without the chat template"},
      {.name = "--system", .target = &options->system, .value = "TEXT", .help = "A system message before the prompt"}};
  for (const auto& more : {sampling_arguments(options->sampling), speculation_arguments(options->speculation),
                           model_arguments(options->model)}) {
    for (const Argument& argument : more) {
      if (!is_positional(argument)) command.arguments.push_back(argument);
    }
  }
  command.arguments.push_back(context_argument(options->context));
  command.arguments.push_back(
      {.name = "--show-routing", .target = &options->show_routing, .help = "Draw which expert took which token"});
  command.arguments.push_back(
      {.name = "--stats", .target = &options->stats, .help = "What streaming experts cost, beside the disk's rate"});
  command.arguments.push_back(json_argument(options->json));
  command.examples =
      "  junto run smollm2 -p 'Why is the sky blue?'\n"
      "  junto run model.gguf --raw -p 'Once upon a time' -n 64 --temp 0\n"
      "  junto run large.gguf --draft small.gguf -p 'Name ten rivers.'\n"
      "  junto run moe.gguf -f question.txt --policy 'top_k=2;0-3:top_k=1' --json\n"
      "  junto run testdata/oracles/checkpoints/olmoe --ids 5,17,40 -n 8 --show-routing\n";
  command.execute = [options] { return run_run(*options); };
  return command;
}

}  // namespace junto
