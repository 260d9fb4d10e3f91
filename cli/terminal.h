// The terminal: whether there is one, how wide it is, and how to be quiet on it.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace junto {

/// True where `file` is a terminal and the user has not set NO_COLOR or TERM=dumb.
bool wants_colour(std::FILE* file);

/// Columns of the terminal behind `file`; `otherwise` where it is none.
int terminal_width(std::FILE* file, int otherwise = 100);

/// Prints one line on stderr, dim on a terminal: notes beside the answer.
void print_note(std::string_view text);

/// Prints on stdout at once: text that comes piece by piece.
void print_streamed(std::string_view text);

/// Columns that valid UTF-8 takes; control characters count 0.
int display_width(std::string_view utf8);

/// `utf8` cut (with an ellipsis) or padded to exactly `columns`; control characters are shown as symbols.
std::string fitted(std::string_view utf8, int columns);

}  // namespace junto
