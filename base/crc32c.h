// CRC-32C (Castagnoli; RFC 3720, appendix B.4): what tells a damaged block of a file from a sound one. It finds every
// change of up to 32 neighbouring bits; it is no proof against somebody who means to deceive (sha256.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace junto {

/// By the processor's instruction where it has one (SSE 4.2).
std::uint32_t crc32c(std::span<const std::byte> bytes);

/// The same by tables: what crc32c() is held to.
std::uint32_t crc32c_by_table(std::span<const std::byte> bytes);

}  // namespace junto
