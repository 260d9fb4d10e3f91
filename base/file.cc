#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <mutex>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

std::string reason(const char* action, int error) {
  return std::string(action) + ": " + std::strerror(error);
}

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

// O_NONBLOCK: opening a pipe must not wait for a writer before it is refused.
Descriptor open_regular(const std::string& path, struct stat& status) {
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail(path, reason("cannot open", errno));
  if (fstat(file.fd, &status) != 0) fail(path, reason("cannot stat", errno));
  if (S_ISDIR(status.st_mode)) fail(path, "is a directory, expected a file");
  return file;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// A name beside `target` that no other process or thread uses.
std::string temporary_name(const std::string& target) {
  static std::atomic<unsigned> counter{0};
  return target + ".partial-" + std::to_string(getpid()) + "-" + std::to_string(counter++);
}

// Every living MappedFile.
struct Mappings {
  std::mutex mutex;
  std::vector<const MappedFile*> files;
};
Mappings& mappings() {
  static auto* const all = new Mappings;  // outlives what is destroyed at exit
  return *all;
}

}  // namespace

std::optional<FilePlace> file_place(const std::byte* data) {
  const std::lock_guard lock(mappings().mutex);
  for (const MappedFile* file : mappings().files) {
    const std::span<const std::byte> bytes = file->bytes();
    if (std::less_equal<>()(bytes.data(), data) && std::less<>()(data, bytes.data() + bytes.size())) {
      return FilePlace{file->path(), static_cast<std::uint64_t>(data - bytes.data())};
    }
  }
  return std::nullopt;
}

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  struct stat status;
  const Descriptor file = open_regular(path_, status);
  if (!S_ISREG(status.st_mode)) fail(path_, "is not a regular file and cannot be mapped");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return;
  void* begin = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd, 0);
  if (begin == MAP_FAILED) fail(path_, reason("cannot map", errno));
  bytes_ = {static_cast<const std::byte*>(begin), size};
  guard_ = std::make_unique<SigbusGuard>(begin, size, path_);
  const std::lock_guard lock(mappings().mutex);
  mappings().files.push_back(this);
}

MappedFile::~MappedFile() {
  {
    const std::lock_guard lock(mappings().mutex);
    std::erase(mappings().files, this);
  }
  guard_.reset();
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

std::string read_text_file(const std::string& path, std::size_t max_bytes) {
  struct stat status;
  const Descriptor file = open_regular(path, status);
  const auto refuse = [&](const std::string& found) {
    fail(path, "holds " + found + " bytes, expected at most " + std::to_string(max_bytes));
  };
  const auto size = static_cast<std::size_t>(status.st_size);
  if (S_ISREG(status.st_mode) && size > max_bytes) refuse(std::to_string(size));
  std::string text;
  char chunk[65536];
  for (;;) {  // pipes and /proc files report no size: read to the end
    const ssize_t count = read(file.fd, chunk, sizeof chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, reason("cannot read", errno));
    if (count == 0) return text;
    text.append(chunk, static_cast<std::size_t>(count));
    if (text.size() > max_bytes) refuse("more than " + std::to_string(max_bytes));
  }
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), target_(path_) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::is_symlink(fs::symlink_status(path_, error))) {
    const fs::path followed = fs::weakly_canonical(path_, error);
    if (!error) target_ = followed.string();
  }
  const fs::file_status status = fs::status(target_, error);
  if (fs::is_directory(status)) fail(path_, "is a directory, expected a file to write");
  if (fs::exists(status) && !fs::is_regular_file(status)) fail(path_, "is not a regular file and cannot be replaced");
  open_temporary();
  buffer_.reserve(kBufferBytes);
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::open_temporary() {
  // A nameless file vanishes with its last descriptor: even a killed program leaves nothing behind.
  fd_ = open(parent_of(target_).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
  if (fd_ >= 0) return;
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) fail(path_, reason("cannot create", errno));
  temporary_ = temporary_name(target_);
  fd_ = open(temporary_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    const int error = errno;
    temporary_.clear();
    fail(path_, reason("cannot create", error));
  }
}

void AtomicFile::discard() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  if (!temporary_.empty()) unlink(temporary_.c_str());
  temporary_.clear();
}

void AtomicFile::fail_errno(const char* action, int error) {
  discard();
  fail(path_, reason(action, error));
}

void AtomicFile::reserve(std::uint64_t bytes) {
  if (bytes == 0 || fd_ < 0) return;
  if (fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0) return;
  if (errno == ENOSPC || errno == EFBIG || errno == EDQUOT) fail_errno("cannot reserve space", errno);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (fd_ < 0) fail(path_, "is already closed");
  size_ += bytes.size();
  // Everything is copied into the buffer: a page missing from a mapped source is met here, where base/sigbus.h names
  // the source, and not inside write(2), where it would read "Bad address".
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    bytes = bytes.subspan(count);
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void AtomicFile::write_zeros(std::uint64_t count) {
  static constexpr std::byte kZeros[4096] = {};
  for (; count > 0;) {
    const std::uint64_t part = std::min<std::uint64_t>(count, sizeof kZeros);
    write(std::span(kZeros, part));
    count -= part;
  }
}

void AtomicFile::flush() {
  for (std::size_t done = 0; done < buffer_.size();) {
    const ssize_t count = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_errno("cannot write", errno);
    done += static_cast<std::size_t>(count);
  }
  buffer_.clear();
}

void AtomicFile::commit() {
  if (fd_ < 0) fail(path_, "is already closed");
  flush();
  if (fsync(fd_) != 0) fail_errno("cannot write to disk", errno);
  if (temporary_.empty()) {
    const std::string name = temporary_name(target_);
    const std::string self = "/proc/self/fd/" + std::to_string(fd_);
    // linkat does not replace an existing file, rename does: give it a name first.
    if (linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      fail_errno("cannot name the finished file", errno);
    }
    temporary_ = name;
  }
  if (rename(temporary_.c_str(), target_.c_str()) != 0) fail_errno("cannot rename the finished file", errno);
  temporary_.clear();
  close(fd_);
  fd_ = -1;
  const Descriptor directory{open(parent_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.fd >= 0) fsync(directory.fd);  // the name itself; some file systems refuse, and need not
}

}  // namespace junto
