// SHA-256 (FIPS 180-4), to check that a downloaded file is the one that was meant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace junto {

/// Takes a message in pieces.
class Sha256 {
 public:
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  /// Of all bytes so far, as 64 lower-case hexadecimal digits. Ends the message: nothing may follow.
  std::string hex_digest();

 private:
  void compress(const std::byte* block);

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> block_{};  // the bytes that do not fill a block yet
  std::uint64_t size_ = 0;             // of the message, in bytes
};

/// The digest of a file; throws Error naming it where it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace junto
