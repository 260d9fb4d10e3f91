#include "cli/completion.h"

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

bool is_path(const Argument& argument) {
  static const std::vector<std::string> paths = {"MODEL", "FILE", "DIR", "SRC", "DST", "REF", "TEXT_FILE"};
  return std::find(paths.begin(), paths.end(), argument.value) != paths.end();
}

bool takes_value(const Argument& argument) {
  return !std::holds_alternative<bool*>(argument.target);
}

/// `text` in single quotes, as every one of these shells reads them.
std::string quoted(std::string_view text, std::string_view shell) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += shell == "fish" ? "\\'" : "'\\''";
    } else if (c == '\\' && shell == "fish") {
      out += "\\\\";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : std::string(between)) + word;
  return out;
}

std::vector<std::string> verbs(std::span<const Command> commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) names.push_back(command.name);
  return names;
}

std::vector<std::string> options(const Command& command) {
  std::vector<std::string> names;
  for (const Argument& argument : command.arguments) {
    if (is_positional(argument)) continue;
    for (const std::string& name : names_of(argument)) names.push_back(name);
  }
  names.push_back("--help");
  return names;
}

/// Words that may stand by position: choices of positional arguments (shells, names of models to fetch).
std::vector<std::string> words(const Command& command) {
  std::vector<std::string> all;
  for (const Argument& argument : command.arguments) {
    if (is_positional(argument)) all.insert(all.end(), argument.choices.begin(), argument.choices.end());
  }
  return all;
}

std::string bash(std::span<const Command> commands) {
  std::string out =
      "# junto completion for bash: source <(junto completion bash)\n"
      "_junto() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W " +
      quoted(joined(verbs(commands), " ") + " --help --version", "bash") +
      " -- \"$word\"))\n    return\n  fi\n"
      "  case ${COMP_WORDS[1]}:$before in\n";
  for (const Command& command : commands) {
    for (const Argument& argument : command.arguments) {
      if (is_positional(argument) || !takes_value(argument)) continue;
      std::vector<std::string> patterns;
      for (const std::string& name : names_of(argument)) patterns.push_back(command.name + ":" + name);
      const std::string reply = !argument.choices.empty() ? "-W " + quoted(joined(argument.choices, " "), "bash")
                                : is_path(argument)       ? "-f"
                                                          : "-W ''";
      out += "    " + joined(patterns, "|") + ") COMPREPLY=($(compgen " + reply + " -- \"$word\")); return ;;\n";
    }
  }
  out += "  esac\n  case ${COMP_WORDS[1]}:$word in\n";
  for (const Command& command : commands) {
    out += "    " + command.name + ":-*) COMPREPLY=($(compgen -W " + quoted(joined(options(command), " "), "bash") +
           " -- \"$word\")) ;;\n";
    const std::vector<std::string> positional = words(command);
    if (positional.empty()) continue;
    out += "    " + command.name + ":*) COMPREPLY=($(compgen -W " + quoted(joined(positional, " "), "bash") +
           " -- \"$word\")) ;;\n";
  }
  return out + "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n  esac\n}\ncomplete -o filenames -F _junto junto\n";
}

/// Text inside a [...] or (...) of _arguments.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_argument(const Argument& argument, std::size_t position) {
  std::string action;
  if (takes_value(argument)) {
    const std::string name = zsh_text(argument.value.empty() ? "value" : argument.value);
    action = ":" + name + ":" +
             (!argument.choices.empty() ? "(" + joined(argument.choices, " ") + ")"
              : is_path(argument)       ? "_files"
                                        : "");
  }
  if (is_positional(argument)) return " " + quoted(std::to_string(position) + action, "zsh");
  std::string out;
  for (const std::string& name : names_of(argument)) {
    out += " " + quoted(name + "[" + zsh_text(argument.help) + "]" + action, "zsh");
  }
  return out;
}

std::string zsh(std::span<const Command> commands) {
  std::string out =
      "#compdef junto\n# junto completion for zsh: junto completion zsh > ~/.zfunc/_junto\n_junto() {\n  local -a "
      "verbs\n"
      "  verbs=(\n";
  for (const Command& command : commands)
    out += "    " + quoted(command.name + ":" + zsh_text(command.about), "zsh") + "\n";
  out +=
      "  )\n  if (( CURRENT == 2 )); then\n    _describe verb verbs\n    return\n  fi\n"
      "  local verb=$words[2]\n  shift words\n  (( CURRENT-- ))\n  case $verb in\n";
  for (const Command& command : commands) {
    out += "    " + command.name + ") _arguments -S";
    std::size_t position = 0;
    for (const Argument& argument : command.arguments) {
      if (is_positional(argument)) ++position;
      out += zsh_argument(argument, position);
    }
    out += " '--help[Print help]' ;;\n";
  }
  return out + "  esac\n}\n_junto \"$@\"\n";
}

std::string fish(std::span<const Command> commands) {
  std::string out = "# junto completion for fish: junto completion fish > ~/.config/fish/completions/junto.fish\n";
  for (const Command& command : commands) {
    out += "complete -c junto -n __fish_use_subcommand -f -a " + command.name + " -d " + quoted(command.about, "fish") +
           "\n";
  }
  for (const Command& command : commands) {
    const std::string begin = "complete -c junto -n '__fish_seen_subcommand_from " + command.name + "'";
    for (const Argument& argument : command.arguments) {
      if (is_positional(argument)) {
        if (!argument.choices.empty()) out += begin + " -f -a " + quoted(joined(argument.choices, " "), "fish") + "\n";
        continue;
      }
      out += begin;
      for (const std::string& name : names_of(argument)) {
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (takes_value(argument)) out += is_path(argument) ? " -r -F" : " -x";
      if (!argument.choices.empty()) out += " -a " + quoted(joined(argument.choices, " "), "fish");
      out += " -d " + quoted(argument.help, "fish") + "\n";
    }
  }
  return out;
}

}  // namespace

std::string completion_script(std::string_view shell, std::span<const Command> commands) {
  if (shell == "bash") return bash(commands);
  if (shell == "zsh") return zsh(commands);
  if (shell == "fish") return fish(commands);
  fail("", "no completion for shell " + printable(shell) + ", expected bash, zsh or fish");
}

}  // namespace junto
