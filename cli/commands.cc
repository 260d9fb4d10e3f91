#include "cli/commands.h"

namespace junto {

std::vector<Command> all_commands() {
  return {fetch_command(), completion_command()};
}

}  // namespace junto
