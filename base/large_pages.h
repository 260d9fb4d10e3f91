// Large pages of the system, for memory that is read in long streams.
#pragma once

#include <sys/mman.h>

#include <cstddef>

namespace junto {

/// 2 MiB: what x86-64 and 64-bit ARM have above their small pages.
inline constexpr std::size_t kLargePage = std::size_t{2} << 20;

/// Asks for large pages in [memory, memory + bytes), which begins on a large page. Advice only: small ones work too.
inline void advise_large_pages([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
}

}  // namespace junto
