// Reads blocks of a file past the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace junto {

/// A source of bytes by offset; calls may come from several threads at once.
class BlockReader {
 public:
  virtual ~BlockReader() = default;
  /// Fills `to` with the bytes from `offset` on. Both, and the address, are multiples of kDirectAlignment; the end of
  /// the file may lie within: then what is behind it is left alone. Returns the bytes that were read. Throws Error
  /// naming the file where it cannot be read.
  virtual std::size_t read(std::uint64_t offset, std::span<std::byte> to) = 0;
  /// Of the open file, where others may read from it as read() does; -1: only read() does.
  virtual int descriptor() const { return -1; }
  virtual std::string path() const { return ""; }  // for errors
};

inline constexpr std::size_t kDirectAlignment = 4096;

/// Opens a file for direct reads (O_DIRECT), or for ordinary ones where the file system has none. Throws Error naming
/// the file. The open file stays the one that was there, even if another takes its name.
std::unique_ptr<BlockReader> open_block_reader(const std::string& path);

}  // namespace junto
