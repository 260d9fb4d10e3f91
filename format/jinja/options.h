// Bounds and surroundings of one rendering.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>

namespace junto::jinja {

/// What one rendering may take. A template that passes a bound fails; it neither hangs nor fills the memory.
struct Limits {
  std::uint64_t steps = 20'000'000;         // nodes evaluated, plus one per 64 bytes of text made or searched
  std::size_t memory_bytes = 256ull << 20;  // of the values alive at once
  std::size_t output_bytes = 64ull << 20;   // of the rendered text
  std::int64_t range_items = 100'000;       // as in Jinja's sandbox
  int depth = 2'000;                        // nodes under evaluation at once
};

struct RenderOptions {
  Limits limits;
  std::optional<std::tm> now;  // for strftime_now; the clock's local time where not set
};

}  // namespace junto::jinja
