#include <cstdio>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/completion.h"

namespace junto {

Command completion_command() {
  const auto shell = std::make_shared<std::string>();
  Command command;
  command.name = "completion";
  command.about = "Print a completion script for a shell";
  command.arguments = {{.name = "SHELL",
                        .target = shell.get(),
                        .value = "SHELL",
                        .help = "bash, zsh or fish",
                        .choices = {"bash", "zsh", "fish"},
                        .required = true}};
  command.examples =
      "  source <(junto completion bash)\n"
      "  junto completion fish > ~/.config/fish/completions/junto.fish\n";
  command.execute = [shell] {
    const std::string script = completion_script(*shell, all_commands());
    std::fwrite(script.data(), 1, script.size(), stdout);
    return 0;
  };
  return command;
}

}  // namespace junto
