#include "cli/command_line.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/completion.h"

namespace junto {
namespace {

struct Options {
  std::string model, prompt, kv = "f16";
  std::optional<float> temperature;
  std::optional<std::uint64_t> seed;
  int threads = 0;
  std::int64_t max_tokens = 512;
  std::vector<std::string> stop;
  bool raw = false;
};

Command command_of(Options& options) {
  Command command;
  command.name = "run";
  command.arguments = {
      {.name = "MODEL", .target = &options.model, .value = "MODEL", .help = "", .required = true},
      {.name = "-p,--prompt", .target = &options.prompt, .value = "TEXT", .help = ""},
      {.name = "--kv", .target = &options.kv, .help = "", .choices = {"f32", "f16", "q8_0"}},
      {.name = "--temp", .target = &options.temperature, .value = "T", .help = "", .low = 0},
      {.name = "--seed", .target = &options.seed, .value = "S", .help = ""},
      {.name = "--threads", .target = &options.threads, .value = "N", .help = "", .low = 0, .high = 1024},
      {.name = "-n,--max-tokens", .target = &options.max_tokens, .value = "N", .help = "", .low = -1},
      {.name = "--stop", .target = &options.stop, .value = "TEXT", .help = ""},
      {.name = "--raw", .target = &options.raw, .help = ""}};
  return command;
}

/// The error that `arguments` give, or "" where they are accepted.
std::string refusal(const std::vector<std::string>& arguments) {
  Options options;
  try {
    parse_arguments(command_of(options), arguments);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(CommandLine, FillsTargetsOfEveryKind) {
  Options options;
  const std::vector<std::string> arguments = {
      "m.gguf", "-p",    "--raw",     "--temp=0.5", "--seed", "18446744073709551615",
      "-n",     "-1",    "--threads", "3",          "--kv",   "q8_0",
      "--stop", "a,b c", "--stop",    "[x,y]",      "--raw"};
  ASSERT_TRUE(parse_arguments(command_of(options), arguments));
  EXPECT_EQ(options.model, "m.gguf");
  EXPECT_EQ(options.prompt, "--raw");  // a value may look like an option
  EXPECT_EQ(options.temperature, 0.5f);
  EXPECT_EQ(options.seed, 18446744073709551615u);
  EXPECT_EQ(options.max_tokens, -1);
  EXPECT_EQ(options.threads, 3);
  EXPECT_EQ(options.kv, "q8_0");
  EXPECT_EQ(options.stop, (std::vector<std::string>{"a,b c", "[x,y]"}));
  EXPECT_TRUE(options.raw);
}

TEST(CommandLine, TextIsTakenAsItIs) {
  for (const std::string text : {"", "-", "--", "a\nb", "\"q\"", "%s {x}", "[1,2]", "日本"}) {
    Options options;
    ASSERT_TRUE(parse_arguments(command_of(options), std::vector<std::string>{"m", "-p", text})) << text;
    EXPECT_EQ(options.prompt, text);
  }
}

TEST(CommandLine, WhatIsNotGivenStaysAsItWas) {
  Options options;
  ASSERT_TRUE(parse_arguments(command_of(options), std::vector<std::string>{"m"}));
  EXPECT_FALSE(options.temperature.has_value());
  EXPECT_FALSE(options.raw);
  EXPECT_EQ(options.max_tokens, 512);
}

TEST(CommandLine, MistypedOptionGetsTheNearest) {
  EXPECT_EQ(refusal({"m", "--tmep", "0.5"}), "junto run has no option --tmep; did you mean --temp?");
  EXPECT_EQ(refusal({"m", "--sed=1"}), "junto run has no option --sed; did you mean --seed?");
  EXPECT_EQ(refusal({"m", "--max"}), "junto run has no option --max; did you mean --max-tokens?");
  EXPECT_EQ(refusal({"m", "--completely-different"}),
            "junto run has no option --completely-different; see junto run --help");
}

TEST(CommandLine, ValuesAreCheckedByName) {
  EXPECT_EQ(refusal({"m", "--kv", "f8"}), "--kv is f8, expected f32, f16 or q8_0");
  EXPECT_EQ(refusal({"m", "--temp", "warm"}), "--temp is warm, expected a number, at least 0");
  EXPECT_EQ(refusal({"m", "--temp", "nan"}), "--temp is nan, expected a number, at least 0");
  EXPECT_EQ(refusal({"m", "--temp", ""}), "--temp is , expected a number, at least 0");
  EXPECT_EQ(refusal({"m", "-n", "1.5"}), "--max-tokens is 1.5, expected a whole number, at least -1");
  EXPECT_EQ(refusal({"m", "--threads", "2000"}), "--threads is 2000, expected a whole number from 0 to 1024");
  EXPECT_EQ(refusal({"m", "--seed", "-1"}), "--seed is -1, expected a whole number, at least 0");
  EXPECT_EQ(refusal({"m", "-p"}), "--prompt needs a value: TEXT");
  EXPECT_EQ(refusal({"m", "--kv"}), "--kv needs a value: f32|f16|q8_0");
  EXPECT_EQ(refusal({"m", "--temp", "1", "--temp", "2"}), "--temp is given twice");
}

TEST(CommandLine, ArgumentsByPositionAreCounted) {
  EXPECT_EQ(refusal({}), "junto run needs MODEL; see junto run --help");
  EXPECT_EQ(refusal({"m", "more"}), "unexpected argument more; see junto run --help");
}

TEST(CommandLine, MistypedVerbGetsTheNearest) {
  const std::vector<Command> commands = all_commands();
  const auto refused = [&](const char* name) -> std::string {
    try {
      find_command(commands, name);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(refused("fetsch"), "no verb fetsch; did you mean fetch?");
  EXPECT_EQ(refused("xyzzy"), "no verb xyzzy; see junto --help");
  EXPECT_EQ(refused("--vers"), "no option --vers before a verb; did you mean --version?");
}

TEST(CommandLine, EveryVerbHasHelpWithExamples) {
  for (const Command& command : all_commands()) {
    const std::string help = help_text(command);
    EXPECT_NE(help.find("Examples:\n  "), std::string::npos) << command.name;
    EXPECT_NE(command.examples.find("junto " + command.name), std::string::npos) << command.name;
    for (const Argument& argument : command.arguments) {
      EXPECT_FALSE(argument.help.empty()) << command.name << " " << argument.name;
      EXPECT_NE(help.find(names_of(argument).back()), std::string::npos) << command.name << " " << argument.name;
    }
  }
}

TEST(Completion, KnowsEveryVerbAndOption) {
  const std::vector<Command> commands = all_commands();
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = completion_script(shell, commands);
    for (const Command& command : commands) {
      EXPECT_NE(script.find(command.name), std::string::npos) << shell << " " << command.name;
      for (const Argument& argument : command.arguments) {
        if (is_positional(argument)) continue;
        const std::string name = names_of(argument).back();
        const std::string shown = std::string(shell) == "fish" ? "-l " + name.substr(2) : name;
        EXPECT_NE(script.find(shown), std::string::npos) << shell << " " << command.name << " " << name;
      }
    }
  }
  EXPECT_THROW(completion_script("tcsh", commands), Error);
}

}  // namespace
}  // namespace junto
