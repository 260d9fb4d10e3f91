// Warnings: things worth a line that do not stop the work. Errors are thrown (base/error.h), results go to stdout.
#pragma once

#include <functional>
#include <string_view>

namespace junto {

/// Prints `junto: warning: <text>` on stderr. May be called from any thread.
void warn(std::string_view text);

/// The same, but only the first time that this process says `text`: for what would repeat per tensor or per token.
void warn_once(std::string_view text);

/// Takes warnings instead of stderr, one call at a time; must not warn itself.
using WarningSink = std::function<void(std::string_view text)>;

/// Sends warnings to `sink` from now on, an empty one means stderr again; for embedders and tests. Returns the former.
WarningSink set_warning_sink(WarningSink sink);

}  // namespace junto
