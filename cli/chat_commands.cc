#include "cli/chat_commands.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "moe/routing_policy.h"

namespace junto {
namespace {

std::string help(ChatState&, const std::string&);

std::string reset(ChatState& state, const std::string&) {
  state.conversation.reset();
  return "forgotten";
}

std::string undo(ChatState& state, const std::string&) {
  return state.conversation.undo() ? "the last exchange is forgotten" : "nothing to forget";
}

std::string system(ChatState& state, const std::string& text) {
  state.conversation.set_system(text);
  return text.empty() ? "no system message" : "system message set";
}

std::string policy(ChatState& state, const std::string& text) {
  const RoutingPolicy parsed = policy_for(*state.session.model, text);
  state.conversation.set_policy(parsed);
  return parsed.empty() ? "routing is the model's own" : "routing " + to_json(parsed).dump();
}

std::string required(const std::string& path, const char* command) {
  if (path.empty()) fail(command, "needs a file name");
  return path;
}

std::string save(ChatState& state, const std::string& path) {
  state.conversation.save(required(path, "/save"));
  return "saved to " + path;
}

std::string load(ChatState& state, const std::string& path) {
  state.conversation.load(required(path, "/load"));
  return "loaded " + std::to_string(state.conversation.messages().size()) + " messages";
}

std::string stats(ChatState& state, const std::string&) {
  const ContextLimit& context = state.conversation.context();
  const std::string used = "context " + std::to_string(state.conversation.used_tokens()) + " of " +
                           std::to_string(context.tokens) + " tokens";
  return state.last_answer.empty() ? used : state.last_answer + "\n" + used;
}

std::string quit(ChatState& state, const std::string&) {
  state.quit = true;
  return "";
}

struct ChatCommand {
  std::string_view name;
  std::string_view argument;
  std::string_view about;
  std::string (*execute)(ChatState&, const std::string& argument);
};

constexpr ChatCommand kCommands[] = {
    {"/help", "", "this list", help},
    {"/reset", "", "forget the conversation, keep the system message", reset},
    {"/undo", "", "forget the last exchange", undo},
    {"/system", "TEXT", "set the system message; without TEXT remove it", system},
    {"/policy", "POLICY", "route as top_k=2 and the like say, from the next token on; without POLICY as the model does",
     policy},
    {"/save", "FILE", "save the conversation with its computed state", save},
    {"/load", "FILE", "go on with a saved conversation", load},
    {"/stats", "", "figures of the last answer, and how full the context is", stats},
    {"/quit", "", "leave (also Ctrl-D)", quit},
};

std::string help(ChatState&, const std::string&) {
  std::string out;
  for (const ChatCommand& command : kCommands) {
    std::string left(command.name);
    if (!command.argument.empty()) left += " " + std::string(command.argument);
    out += left + std::string(left.size() < 16 ? 16 - left.size() : 1, ' ') + std::string(command.about) + "\n";
  }
  return out +
         "Ctrl-C ends an answer. A line that ends in \\ goes on in the next one; one that begins with // is sent with "
         "one /.";
}

}  // namespace

std::string chat_command(ChatState& state, std::string_view line) {
  const std::size_t space = std::min(line.find(' '), line.size());
  const std::string_view name = line.substr(0, space);
  const std::size_t begin = std::min(line.find_first_not_of(' ', space), line.size());
  const std::size_t end = line.find_last_not_of(" \t") + 1;
  const std::string argument(line.substr(begin, end > begin ? end - begin : 0));
  std::vector<std::string_view> names;
  for (const ChatCommand& command : kCommands) {
    if (command.name == name) return command.execute(state, argument);
    names.push_back(command.name);
  }
  const std::string_view near = nearest(name, names);
  fail("", "no command " + printable(name) + "; " +
               (near.empty() ? "/help lists them" : "did you mean " + std::string(near) + "?"));
}

}  // namespace junto
