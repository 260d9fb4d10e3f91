// A verb as data: what it is called, what it takes, an example or two, what it does. The parser, --help, the shell
// completions and the tests walk the same tables.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace junto {

/// Where an argument's value goes. Optionals stay empty, and vectors too, where the argument is not given; a vector
/// takes one element each time that it is.
using ArgumentTarget = std::variant<bool*, int*, std::int64_t*, std::uint64_t*, std::string*, std::optional<int>*,
                                    std::optional<std::int64_t>*, std::optional<float>*, std::optional<std::uint64_t>*,
                                    std::optional<std::string>*, std::vector<std::string>*>;

struct Argument {
  std::string name;  // "MODEL" (by position), "--temp", or "-n,--max-tokens"
  ArgumentTarget target;
  std::string value = {};  // what help calls the value: "T"; empty for flags; FILE, MODEL and DIR complete as paths
  std::string help;
  std::vector<std::string> choices = {};  // not empty: the only values there are
  double low = -1e300, high = 1e300;      // of numbers
  bool required = false;
};

struct Command {
  std::string name;
  std::string about;
  std::vector<Argument> arguments;
  std::string examples;          // lines "junto run ...", each perhaps followed by an indented line of explanation
  std::function<int()> execute;  // after the targets are filled; returns the exit status
};

/// The names of an argument, "-n" and "--max-tokens" apart.
std::vector<std::string> names_of(const Argument& argument);

/// True for arguments by position.
bool is_positional(const Argument& argument);

/// Sets the target from `text`. Throws Error "--temp is abc, expected a number" on what is not its type, its range or
/// one of its choices.
void set_argument(const Argument& argument, std::string_view name, std::string_view text);

}  // namespace junto
