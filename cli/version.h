// The version that `junto --version` prints.
#pragma once

namespace junto {

inline constexpr const char* kVersion = JUNTO_VERSION;

}  // namespace junto
