// Files: read by mapping, small texts read whole, results written so that a file is either complete or not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/sigbus.h"

namespace junto {

/// A regular file mapped read-only. Share it (std::make_shared<const MappedFile>(path)) with all that point into it.
/// If the file shrinks while mapped, the first touch of a missing page ends the program with one line (base/sigbus.h).
class MappedFile {
 public:
  /// Throws Error naming the file where it cannot be opened, is not a regular file or cannot be mapped.
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  /// The contents; starts on a page boundary. Empty for an empty file.
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
  std::unique_ptr<SigbusGuard> guard_;
};

/// Where mapped bytes stand in their file.
struct FilePlace {
  std::string path;
  std::uint64_t offset = 0;  // bytes from the file's begin
};

/// The place of `data` in the MappedFile that holds it; nothing where no living one does.
std::optional<FilePlace> file_place(const std::byte* data);

/// The whole file; throws Error naming it where it cannot be read, is a directory or holds more than `max_bytes`.
std::string read_text_file(const std::string& path, std::size_t max_bytes);

/// Writes a file that appears under its name only when complete: bytes go to a nameless file (or, where the file system
/// has none, a temporary one) in the same directory, commit() makes them durable and renames. Without commit() nothing
/// is left behind. Every failure throws Error naming the destination and the system's reason.
class AtomicFile {
 public:
  /// An existing destination must be a regular file (a symbolic link is followed); it stays until commit().
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& path() const { return path_; }
  /// Asks the file system for the space of `bytes` at once, so that a full disk is known before hours of work.
  void reserve(std::uint64_t bytes);
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void write_zeros(std::uint64_t count);
  /// Bytes written so far.
  std::uint64_t size() const { return size_; }
  /// Flushes to disk and puts the file under its name.
  void commit();

 private:
  void open_temporary();
  void flush();
  void discard();
  [[noreturn]] void fail_errno(const char* action, int error);

  std::string path_;
  std::string target_;     // path_ with symbolic links followed
  std::string temporary_;  // empty while the file is nameless
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace junto
