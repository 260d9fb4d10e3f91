#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>

#include "base/error.h"
#include "cli/version.h"
#include "kernels/choose.h"

namespace junto {
namespace {

/// What help calls an argument's value.
std::string placeholder(const Argument& argument) {
  if (!argument.choices.empty()) {
    std::string all;
    for (const std::string& choice : argument.choices) all += (all.empty() ? "" : "|") + choice;
    return all;
  }
  return argument.value;
}

std::unique_ptr<CLI::App> make_app(const Command& command) {
  auto app = std::make_unique<CLI::App>(command.about, "junto " + command.name);
  app->allow_extras();  // reported by refuse_unknown(), with a suggestion
  app->set_help_flag("-h,--help", "Print this help and exit");
  app->get_formatter()->column_width(34);
  if (!command.examples.empty()) app->footer("Examples:\n" + command.examples);
  for (const Argument& argument : command.arguments) {
    CLI::Option* option = nullptr;
    if (std::holds_alternative<bool*>(argument.target)) {
      option = app->add_flag(argument.name, argument.help);
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    } else {
      option = app->add_option(
          argument.name, [](const CLI::results_t&) { return true; }, argument.help);
      option->type_name(is_positional(argument) ? "" : placeholder(argument));
      option->expected(1);
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }
  }
  return app;
}

/// Names that options of this verb have, for suggestions.
std::vector<std::string> option_names(const Command& command) {
  std::vector<std::string> names = {"--help"};
  for (const Argument& argument : command.arguments) {
    if (is_positional(argument)) continue;
    for (const std::string& name : names_of(argument)) {
      if (name.size() > 2) names.push_back(name);
    }
  }
  return names;
}

/// What the user may have meant: a word that goes on as `word` begins, else the nearest.
template <class Range>
std::string_view suggestion(std::string_view word, const Range& candidates) {
  for (const std::string_view candidate : candidates) {
    if (word.size() > 2 && candidate.starts_with(word)) return candidate;
  }
  return nearest(word, candidates);
}

[[noreturn]] void refuse_unknown(const Command& command, const std::string& word) {
  const bool option = word.size() > 1 && word[0] == '-';
  const std::string name = word.substr(0, word.find('='));
  if (!option) fail("", "unexpected argument " + printable(word) + "; see junto " + command.name + " --help");
  const std::vector<std::string> names = option_names(command);
  const std::string_view near = suggestion(name, names);
  const std::string hint =
      near.empty() ? "see junto " + command.name + " --help" : "did you mean " + std::string(near) + "?";
  fail("", "junto " + command.name + " has no option " + printable(name) + "; " + hint);
}

/// What CLI11 says, in one line and our words.
[[noreturn]] void refuse(const Command& command, const CLI::ParseError& error) {
  const std::string text = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    const std::string name = text.substr(0, text.find(':'));
    for (const Argument& argument : command.arguments) {
      const auto names = names_of(argument);
      if (std::find(names.begin(), names.end(), name) == names.end()) continue;
      if (argument.value.empty() && argument.choices.empty()) fail("", name + " takes no value");
      fail("", name + " needs a value: " + placeholder(argument));
    }
  }
  fail("", printable(text, 200));
}

void fill(const Command& command, const CLI::App& app) {
  for (const Argument& argument : command.arguments) {
    const std::vector<std::string> names = names_of(argument);
    const CLI::Option* option = app.get_option(names[0]);
    const std::vector<std::string>& given = option->results();
    if (std::holds_alternative<bool*>(argument.target)) {
      if (!given.empty()) set_argument(argument, names.back(), given[0]);
      continue;
    }
    const bool repeats = std::holds_alternative<std::vector<std::string>*>(argument.target);
    if (given.size() > 1 && !repeats) fail("", names.back() + " is given twice");
    for (const std::string& text : given) set_argument(argument, names.back(), text);
  }
  for (const Argument& argument : command.arguments) {
    const std::string name = names_of(argument).back();
    if (argument.required && app.get_option(name)->results().empty()) {
      const std::string what = is_positional(argument) ? name : name + " " + placeholder(argument);
      fail("", "junto " + command.name + " needs " + what + "; see junto " + command.name + " --help");
    }
  }
}

int print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

// Also for bug reports and scripts/test: which instruction sets this CPU has, the one in use marked.
std::string version_text() {
  std::string text = std::string("junto ") + kVersion + "\ninstruction sets:";
  for (const Isa isa : available_isas()) {
    text += ' ';
    text += isa_name(isa);
    if (isa == chosen_isa()) text += " (in use)";
  }
  return text + "\n";
}

int run_verb(std::span<const Command> commands, std::span<const std::string> arguments) {
  if (arguments.empty()) fail("", "expected a verb, such as run or chat; see junto --help");
  const std::string& first = arguments[0];
  if (first == "--version" || first == "-V") return print(version_text());
  if (first == "--help" || first == "-h" || first == "help") {
    if (arguments.size() < 2) return print(help_text(commands));
    return print(help_text(find_command(commands, arguments[1])));
  }
  const Command& command = find_command(commands, first);
  if (!parse_arguments(command, arguments.subspan(1))) return print(help_text(command));
  return command.execute();
}

void report(const char* what) {
  std::fflush(stdout);
  std::fprintf(stderr, "junto: %s\n", printable(what, 2000).c_str());
}

}  // namespace

std::string help_text(std::span<const Command> commands) {
  std::string text =
      "Junto: a mixture-of-experts engine.\n\nUsage: junto VERB [ARGUMENTS], junto VERB --help\n\nVerbs:\n";
  for (const Command& command : commands) {
    text += "  " + command.name + std::string(12 - std::min<std::size_t>(11, command.name.size()), ' ') +
            command.about + "\n";
  }
  return text +
         "\nOptions:\n  -h, --help     Print this help and exit\n  -V, --version  Print the version and exit\n\n"
         "Examples:\n  junto fetch smollm2\n  junto run MODEL -p 'What is a mixture of experts?'\n"
         "  junto chat MODEL --system 'Answer in one sentence.'\n"
         "  junto run testdata/oracles/checkpoints/olmoe --raw -p 'Once upon a time' --show-routing\n";
}

std::string help_text(const Command& command) {
  const auto app = make_app(command);
  for (const Argument& argument : command.arguments) {
    // Only here: while parsing, a mistyped option is worth more words than a missing argument.
    if (argument.required) app->get_option(names_of(argument)[0])->required();
  }
  return app->help();
}

const Command& find_command(std::span<const Command> commands, std::string_view name) {
  std::vector<std::string_view> names;
  for (const Command& command : commands) {
    if (command.name == name) return command;
    names.push_back(command.name);
  }
  if (name.starts_with('-')) {
    const std::vector<std::string_view> options = {"--help", "--version"};
    const std::string_view near = suggestion(name, options);
    fail("", "no option " + printable(name) + " before a verb; " +
                 (near.empty() ? "see junto --help" : "did you mean " + std::string(near) + "?"));
  }
  const std::string_view near = suggestion(name, names);
  fail("", "no verb " + printable(name) + "; " +
               (near.empty() ? "see junto --help" : "did you mean " + std::string(near) + "?"));
}

bool parse_arguments(const Command& command, std::span<const std::string> arguments) {
  const auto app = make_app(command);
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app->parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    return false;
  } catch (const CLI::ParseError& error) {
    refuse(command, error);
  }
  const std::vector<std::string> extras = app->remaining();
  for (const std::string& word : extras) {
    if (word.size() > 1 && word[0] == '-') refuse_unknown(command, word);
  }
  if (!extras.empty()) refuse_unknown(command, extras[0]);
  fill(command, *app);
  return true;
}

int run_command_line(std::span<const Command> commands, std::span<const std::string> arguments) {
  try {
    const int status = run_verb(commands, arguments);
    if (std::fflush(stdout) != 0) fail("standard output", std::strerror(errno));
    return status;
  } catch (const std::bad_alloc&) {
    report("out of memory");
  } catch (const std::exception& error) {
    report(error.what());
  }
  return 1;
}

}  // namespace junto
