#include "base/block_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace junto {
namespace {

class DirectFile : public BlockReader {
 public:
  explicit DirectFile(std::string path) : path_(std::move(path)) {
    fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd_ < 0 && errno == EINVAL) fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) fail(path_, std::string("cannot open: ") + std::strerror(errno));
  }
  ~DirectFile() override { close(fd_); }
  DirectFile(const DirectFile&) = delete;
  DirectFile& operator=(const DirectFile&) = delete;

  std::size_t read(std::uint64_t offset, std::span<std::byte> to) override {
    std::size_t done = 0;
    while (done < to.size()) {
      const ssize_t count = pread(fd_, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        fail(path_, "cannot read at byte " + std::to_string(offset + done) + ": " + std::strerror(errno));
      }
      done += static_cast<std::size_t>(count);
      // A direct read that ends off the alignment has met the end of the file.
      if (count == 0 || done % kDirectAlignment != 0) break;
    }
    return done;
  }

  int descriptor() const override { return fd_; }
  std::string path() const override { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace

std::unique_ptr<BlockReader> open_block_reader(const std::string& path) {
  return std::make_unique<DirectFile>(path);
}

}  // namespace junto
