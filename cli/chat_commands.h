// The /commands of a conversation.
#pragma once

#include <string>
#include <string_view>

#include "cli/chat.h"

namespace junto {

/// What the commands work on.
struct ChatState {
  Conversation& conversation;
  const Session& session;
  std::string last_answer;  // the line under it, for /stats
  bool quit = false;
};

/// Executes "/name argument" and returns what to tell the user, in lines. Throws Error on an unknown command, naming
/// the nearest, and on what the command itself finds wrong.
std::string chat_command(ChatState& state, std::string_view line);

}  // namespace junto
