// junto chat: a conversation in the terminal, or over a pipe.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/progress.h"
#include "cli/answer_line.h"
#include "cli/chat.h"
#include "cli/chat_commands.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/line_reader.h"
#include "cli/machine.h"
#include "cli/sampling_arguments.h"
#include "cli/session.h"
#include "cli/speculation_arguments.h"
#include "cli/terminal.h"

namespace junto {
namespace {

struct ChatOptions {
  ModelOptions model;
  SamplingArguments sampling;
  SpeculationArguments speculation;
  std::optional<std::string> system;
  std::optional<int> context;
  bool json = false;
};

/// The terminal's side of a conversation.
class ChatLoop {
 public:
  ChatLoop(const ChatOptions& options, Session& session, Conversation& conversation)
      : options_(options),
        session_(session),
        conversation_(conversation),
        state_{conversation, session, {}, false},
        interactive_(isatty(STDIN_FILENO) != 0) {}

  int run();

 private:
  bool read_message(std::string& message);
  void answer(const std::string& message);
  void handle(const std::string& message);

  const ChatOptions& options_;
  Session& session_;
  Conversation& conversation_;
  ChatState state_;
  LineReader reader_{STDIN_FILENO};
  const bool interactive_;
};

/// Joins lines that end in a backslash. False at the end of the input.
bool ChatLoop::read_message(std::string& message) {
  message.clear();
  while (true) {
    if (interactive_) std::fprintf(stderr, "%s", message.empty() ? "> " : "| ");
    std::string line;
    const LineReader::Result result = reader_.next(line);
    if (result == LineReader::Result::kEnd) {
      if (interactive_) std::fprintf(stderr, "\n");
      return !message.empty();
    }
    if (result == LineReader::Result::kInterrupted) {
      if (take_interrupt()) print_note("\n/quit or Ctrl-D leaves");
      message.clear();
      continue;
    }
    if (!line.ends_with('\\')) {
      message += line;
      return true;
    }
    line.back() = '\n';
    message += line;
  }
}

void ChatLoop::answer(const std::string& message) {
  const Generated answer = conversation_.ask(message);
  take_interrupt();
  if (options_.json) {
    const Json out = {{"ids", answer.ids},
                      {"text", answer.text},
                      {"timings", timings_json(answer)},
                      {"speculation", speculation_json(answer)},
                      {"routing", routing_json(session_.model->config, answer)}};
    std::printf("%s\n", out.dump().c_str());
  } else if (!answer.text.ends_with('\n')) {
    std::printf("\n");
  }
  std::fflush(stdout);
  const ContextLimit& context = conversation_.context();
  const std::string note = ending_note(answer, context, options_.sampling.max_tokens.has_value());
  if (!note.empty()) print_note(note);
  const std::int64_t used = conversation_.used_tokens();
  state_.last_answer = answer_line(session_, answer, used, context, read_bandwidth(*session_.pool));
  print_note(state_.last_answer);
  if (used * 10 >= context.tokens * 9) {
    std::fprintf(stderr, "junto: warning: %lld of the context's %lld tokens are used; /reset or /undo make room\n",
                 static_cast<long long>(used), static_cast<long long>(context.tokens));
  }
}

void ChatLoop::handle(const std::string& message) {
  if (message.starts_with("//")) return answer(message.substr(1));
  if (!message.starts_with('/')) return answer(message);
  const std::string reply = chat_command(state_, message);
  if (!reply.empty()) print_note(reply);
}

int ChatLoop::run() {
  for (std::string message; !state_.quit && read_message(message);) {
    if (message.find_first_not_of(" \t\n") == std::string::npos) continue;
    try {
      handle(message);
    } catch (const Error& error) {
      // In a terminal the user can do something about it; over a pipe nobody can.
      if (!interactive_) throw;
      std::fprintf(stderr, "junto: %s\n", printable(error.what(), 2000).c_str());
    }
  }
  return 0;
}

int run_chat(const ChatOptions& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  Session session = open_session(options.model);
  const ContextLimit context = context_limit(session, options.context);
  start_decoder(session, context.tokens);
  GenerateOptions generation = generate_options(options.sampling, session, context, session.chunk);
  if (!options.json) generation.on_text = print_streamed;
  generation.interrupted = &interrupt_flag();
  if (options.speculation.draft) require_tokenizer(session);
  const std::unique_ptr<Speculator> speculator = make_speculator(options.speculation, session);
  generation.speculator = speculator.get();
  Conversation conversation(session, generation, context);
  if (options.system) conversation.set_system(*options.system);
  print_note(session.checkpoint.path + ", " + context.describe() +
             (isatty(STDIN_FILENO) != 0 ? "; /help lists commands" : ""));
  const InterruptGuard guard;
  return ChatLoop(options, session, conversation).run();
}

}  // namespace

Command chat_command() {
  const auto options = std::make_shared<ChatOptions>();
  Command command;
  command.name = "chat";
  command.about = "A conversation in the terminal";
  command.arguments = {model_argument(options->model.path),
                       {.name = "--system", .target = &options->system, .value = "TEXT", .help = "The system message"}};
  for (const auto& more : {sampling_arguments(options->sampling), speculation_arguments(options->speculation),
                           model_arguments(options->model)}) {
    for (const Argument& argument : more) {
      if (!is_positional(argument)) command.arguments.push_back(argument);
    }
  }
  command.arguments.push_back(context_argument(options->context));
  command.arguments.push_back(
      {.name = "--json", .target = &options->json, .help = "Print each answer as one JSON object"});
  command.examples =
      "  junto chat smollm2\n"
      "  junto chat model.gguf --system 'Answer in one sentence.' --temp 0.3\n"
      "  printf 'Hello\\nAnd then?\\n' | junto chat model.gguf --json\n"
      "In the conversation /help lists the commands; Ctrl-C ends an answer.\n";
  command.execute = [options] { return run_chat(*options); };
  return command;
}

}  // namespace junto
