// Shell completion, written out of the tables of verbs.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/command.h"

namespace junto {

/// A script for bash, zsh or fish that completes verbs, options, their choices and file names. Throws Error on another
/// shell.
std::string completion_script(std::string_view shell, std::span<const Command> commands);

}  // namespace junto
