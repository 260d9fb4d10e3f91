// What is waited for is read before what was guessed.
#pragma once

#include <cstdint>

namespace junto {

enum class Priority : std::uint8_t { kDemand, kPrefetch };

}  // namespace junto
