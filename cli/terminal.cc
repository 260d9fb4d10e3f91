#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <cstdlib>
#include <string>

namespace junto {
namespace {

/// The character at `at` and its width; advances `at`.
int next_width(std::string_view utf8, std::size_t& at) {
  utf8proc_int32_t c = 0;
  const auto* data = reinterpret_cast<const utf8proc_uint8_t*>(utf8.data());
  const auto size = utf8proc_iterate(data + at, static_cast<utf8proc_ssize_t>(utf8.size() - at), &c);
  at += size > 0 ? static_cast<std::size_t>(size) : 1;
  return size > 0 ? utf8proc_charwidth(c) : 1;
}

/// Line breaks, tabs and other control characters as something visible.
std::string visible(std::string_view utf8) {
  std::string out;
  for (const char c : utf8) {
    if (c == '\n') {
      out += "↵";
    } else if (c == '\t') {
      out += "→";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += "·";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

bool wants_colour(std::FILE* file) {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  if (no_colour != nullptr && no_colour[0] != '\0') return false;
  return isatty(fileno(file)) != 0 && (term == nullptr || std::string_view(term) != "dumb");
}

int terminal_width(std::FILE* file, int otherwise) {
  winsize size{};
  if (ioctl(fileno(file), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return otherwise;
  return size.ws_col;
}

void print_note(std::string_view text) {
  const bool dim = wants_colour(stderr);
  std::fflush(stdout);
  std::fprintf(stderr, "%s%.*s%s\n", dim ? "\033[2m" : "", static_cast<int>(text.size()), text.data(),
               dim ? "\033[0m" : "");
}

void print_streamed(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

int display_width(std::string_view utf8) {
  int width = 0;
  for (std::size_t at = 0; at < utf8.size();) width += next_width(utf8, at);
  return width;
}

std::string fitted(std::string_view utf8, int columns) {
  const std::string shown = visible(utf8);
  std::size_t end = 0;
  int width = 0;
  const bool cut = display_width(shown) > columns;
  while (end < shown.size()) {
    std::size_t after = end;
    const int next = next_width(shown, after);
    if (width + next > columns - (cut ? 1 : 0)) break;
    width += next;
    end = after;
  }
  std::string out = shown.substr(0, end);
  if (cut && columns > 0) out += "…", ++width;
  return out + std::string(static_cast<std::size_t>(columns > width ? columns - width : 0), ' ');
}

}  // namespace junto
