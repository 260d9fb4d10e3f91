// The command line: finds the verb, fills its arguments, runs it. Every mistake is one line on stderr and status 1.
#pragma once

#include <iosfwd>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"

namespace junto {

/// The text of `junto --help`.
std::string help_text(std::span<const Command> commands);

/// The text of `junto VERB --help`.
std::string help_text(const Command& command);

/// The verb of that name; throws Error naming the nearest one.
const Command& find_command(std::span<const Command> commands, std::string_view name);

/// Fills the targets of `command` from the arguments after the verb. Throws Error on an unknown option (with the
/// nearest valid one), a value that is missing, refused or given twice, or a required argument that is absent.
/// Returns false where help was asked for instead.
bool parse_arguments(const Command& command, std::span<const std::string> arguments);

/// All of a program: `arguments` without the program's name. Returns the exit status.
int run_command_line(std::span<const Command> commands, std::span<const std::string> arguments);

}  // namespace junto
