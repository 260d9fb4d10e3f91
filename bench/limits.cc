// What this machine can do at best, which all other figures are held against:
//
//   limits [--json] [--file PATH]
//
// Memory read by one and by all threads (from a buffer in large pages, larger than the last-level cache), the peaks of
// each instruction set (peaks.h), and a sequential read around the page cache of PATH, or of a file of 512 MiB that is
// written here and removed. Every figure is the best of several runs: other programs only slow them down.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "bench/peaks.h"
#include "cli/machine.h"

namespace junto {
namespace {

constexpr std::size_t kDiskPiece = std::size_t{4} << 20;

struct FileDescriptor {
  int number = -1;
  ~FileDescriptor() {
    if (number >= 0) close(number);
  }
};

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Piece = std::unique_ptr<std::byte[], FreeMemory>;

Piece aligned_piece() {
  return Piece(static_cast<std::byte*>(std::aligned_alloc(4096, kDiskPiece)));
}

// A file without a name on the disk of the working directory, of bytes that do not repeat.
int make_file(std::size_t bytes) {
  const int fd = open(".", O_TMPFILE | O_RDWR, 0600);
  if (fd < 0) return -1;
  const Piece piece = aligned_piece();
  std::uint64_t state = 1;
  for (std::size_t at = 0; at < bytes; at += kDiskPiece) {
    for (std::size_t i = 0; i < kDiskPiece; i += 8) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      *reinterpret_cast<std::uint64_t*>(piece.get() + i) = state;
    }
    if (write(fd, piece.get(), kDiskPiece) != static_cast<ssize_t>(kDiskPiece)) return close(fd), -1;
  }
  fsync(fd);
  return fd;
}

// Bytes per second of one pass of all threads over the file, or 0 where it cannot be read around the cache.
double read_disk(const std::string& path, ThreadPool& pool) {
  FileDescriptor written;
  std::string name = path;
  if (path.empty()) {
    written.number = make_file(std::size_t{512} << 20);
    if (written.number < 0) return 0;
    name = "/proc/self/fd/" + std::to_string(written.number);
  }
  const FileDescriptor file{open(name.c_str(), O_RDONLY | O_DIRECT)};
  struct stat status {};
  if (file.number < 0 || fstat(file.number, &status) != 0) {
    if (!path.empty()) fail(path, "cannot be opened for direct reads");
    return 0;
  }
  const std::int64_t pieces = status.st_size / static_cast<std::int64_t>(kDiskPiece);
  std::atomic<bool> failed{false};
  std::vector<Piece> buffers(static_cast<std::size_t>(pool.threads()));
  for (Piece& buffer : buffers) buffer = aligned_piece();
  const auto begin = std::chrono::steady_clock::now();
  pool.for_each_block(pieces, [&](std::int64_t piece, int worker) {
    std::byte* to = buffers[static_cast<std::size_t>(worker)].get();
    const auto at = static_cast<off_t>(piece) * static_cast<off_t>(kDiskPiece);
    if (pread(file.number, to, kDiskPiece, at) != static_cast<ssize_t>(kDiskPiece)) failed = true;
  });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return failed || pieces == 0 ? 0 : static_cast<double>(pieces) * kDiskPiece / seconds;
}

void measure(bool json, const std::string& path) {
  std::vector<int> thread_counts = {1};
  if (available_cores() > 1) thread_counts.push_back(available_cores());
  Json report = {{"processor", processor_name()}, {"threads", Json::array()}};
  if (!json) std::printf("%s\n", processor_name().c_str());
  for (const int threads : thread_counts) {
    ThreadPool pool(threads);
    pin_workers(pool);
    const double read = ReadProbe(pool).measure(1.0), disk = read_disk(path, pool);
    Json entry = {{"threads", threads}, {"read_bytes_per_s", read}, {"peaks", Json::array()}};
    entry["disk_bytes_per_s"] = disk > 0 ? Json(disk) : Json(nullptr);
    if (!json) {
      std::printf("%d thread%s\n  memory read      %8.1f GB/s\n", threads, threads > 1 ? "s" : "", read / 1e9);
      disk > 0 ? std::printf("  disk read        %8.2f GB/s\n", disk / 1e9)
               : std::printf("  disk read        not measured: this file system has no direct reads\n");
    }
    for (const PeakLoop& loop : peak_loops()) {
      const double peak = measure_peak(loop, pool);
      entry["peaks"].push_back({{"isa", isa_name(loop.isa)}, {"name", loop.name}, {"operations_per_s", peak}});
      if (!json) {
        std::printf("  %-7s %-8s %8.1f Gop/s\n", std::string(isa_name(loop.isa)).c_str(),
                    std::string(loop.name).c_str(), peak / 1e9);
      }
    }
    report["threads"].push_back(entry);
  }
  if (json) std::printf("%s\n", report.dump(1).c_str());
}

}  // namespace
}  // namespace junto

int main(int count, char** arguments) {
  bool json = false;
  std::string path;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--json") {
      json = true;
    } else if (argument == "--file" && i + 1 < count) {
      path = arguments[++i];
    } else {
      std::fprintf(stderr, "usage: limits [--json] [--file PATH]\n");
      return 2;
    }
  }
  try {
    junto::measure(json, path);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "limits: %s\n", error.what());
    return 1;
  }
}
