#include <string>
#include <vector>

#include "base/freed_memory.h"
#include "cli/command_line.h"
#include "cli/commands.h"

int main(int argc, char** argv) {
  junto::return_freed_memory();
  const std::vector<std::string> arguments(argv + 1, argv + (argc > 0 ? argc : 1));
  return junto::run_command_line(junto::all_commands(), arguments);
}
