// Pages of mapped files that nobody needs any more.
#pragma once

#include <cstddef>
#include <span>

namespace junto {

/// The whole pages within `bytes` leave the process where a living MappedFile has them (base/file.h; nothing happens to
/// other memory); they are read again where they are touched again.
void release_mapped_pages(std::span<const std::byte> bytes);

}  // namespace junto
