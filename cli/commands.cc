#include "cli/commands.h"

namespace junto {

std::vector<Command> all_commands() {
  return {completion_command()};
}

}  // namespace junto
