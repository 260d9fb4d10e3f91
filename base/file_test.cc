#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "junto-file-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }
  std::string path(const std::string& name) const { return (directory_ / name).string(); }
  std::string put(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }

  fs::path directory_;
};

template <class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(FileTest, MapsContents) {
  const MappedFile file(put("a", "hello"));
  EXPECT_EQ(as_text(file.bytes()), "hello");
  EXPECT_EQ(file.path(), path("a"));
}

TEST_F(FileTest, EmptyFileMapsToNothing) {
  EXPECT_TRUE(MappedFile(put("empty", "")).bytes().empty());
}

TEST_F(FileTest, MappingErrorsNameTheFile) {
  EXPECT_EQ(message_of([&] { MappedFile file(path("absent")); }),
            path("absent") + ": cannot open: No such file or directory");
  EXPECT_EQ(message_of([&] { MappedFile file(directory_.string()); }),
            directory_.string() + ": is a directory, expected a file");
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(message_of([&] { MappedFile file(path("pipe")); }),
            path("pipe") + ": is not a regular file and cannot be mapped");
}

using FileDeathTest = FileTest;

TEST_F(FileDeathTest, TruncationWhileMappedIsOneLineAndStatusOne) {
  const std::string name = put("weights.gguf", std::string(1 << 16, 'x'));
  const auto touch = [&] {
    const MappedFile other(put("other.gguf", std::string(1 << 16, 'y')));
    const MappedFile file(name);
    fs::resize_file(name, 100);
    volatile char last = static_cast<char>(file.bytes().back());
    static_cast<void>(last);
  };
  EXPECT_EXIT(touch(), ::testing::ExitedWithCode(1), "^junto: .*weights.gguf: truncated or unreadable while mapped\n$");
}

TEST_F(FileDeathTest, BusErrorElsewhereKeepsItsDefault) {
  const std::string name = put("mine", std::string(1 << 16, 'x'));
  const std::string foreign = put("foreign", std::string(1 << 16, 'x'));
  const auto touch_foreign = [&] {
    signal(SIGBUS, SIG_DFL);  // what a program without sanitizers starts with
    const MappedFile file(name);
    const int fd = open(foreign.c_str(), O_RDONLY);
    void* begin = mmap(nullptr, 1 << 16, PROT_READ, MAP_SHARED, fd, 0);
    fs::resize_file(foreign, 0);
    volatile char first = *static_cast<volatile char*>(begin);
    static_cast<void>(first);
  };
  EXPECT_EXIT(touch_foreign(), ::testing::KilledBySignal(SIGBUS), "^$");
  const auto sent = [&] {
    signal(SIGBUS, SIG_DFL);
    const MappedFile file(name);
    raise(SIGBUS);
  };
  EXPECT_EXIT(sent(), ::testing::KilledBySignal(SIGBUS), "^$");
}

TEST_F(FileDeathTest, AnUnmappedRangeIsForgotten) {
  const std::string name = put("mine", std::string(1 << 16, 'x'));
  const auto touch_same_address = [&] {
    signal(SIGBUS, SIG_DFL);
    void* begin = nullptr;
    {
      const MappedFile file(name);
      begin = const_cast<std::byte*>(file.bytes().data());
    }
    const int fd = open(name.c_str(), O_RDONLY);
    void* again = mmap(begin, 1 << 16, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    fs::resize_file(name, 0);
    volatile char first = *static_cast<volatile char*>(again);
    static_cast<void>(first);
  };
  EXPECT_EXIT(touch_same_address(), ::testing::KilledBySignal(SIGBUS), "^$");
}

TEST_F(FileTest, ReadsTextUpToTheLimit) {
  EXPECT_EQ(read_text_file(put("t", "12345"), 5), "12345");
  EXPECT_EQ(message_of([&] { read_text_file(path("t"), 4); }), path("t") + ": holds 5 bytes, expected at most 4");
  EXPECT_EQ(message_of([&] { read_text_file(path("absent"), 4); }),
            path("absent") + ": cannot open: No such file or directory");
  EXPECT_EQ(message_of([&] { read_text_file(directory_.string(), 4); }),
            directory_.string() + ": is a directory, expected a file");
  EXPECT_GT(read_text_file("/proc/self/status", 1 << 20).size(), 0u);
}

TEST_F(FileTest, AtomicFileAppearsOnCommitOnly) {
  put("out", "old");
  {
    AtomicFile file(path("out"));
    file.write("new");
    file.write_zeros(5000);
    EXPECT_EQ(file.size(), 5003u);
    EXPECT_EQ(read_text_file(path("out"), 100), "old");
    file.commit();
  }
  EXPECT_EQ(read_text_file(path("out"), 10000), "new" + std::string(5000, '\0'));
  EXPECT_EQ(files(), 1u);
  {
    AtomicFile file(path("out"));
    file.write("abandoned");
  }
  EXPECT_EQ(read_text_file(path("out"), 10000).substr(0, 3), "new");
  EXPECT_EQ(files(), 1u);
}

TEST_F(FileTest, AtomicFileWritesMoreThanItsBuffer) {
  std::string text;
  for (int i = 0; text.size() < (3u << 20); ++i) text += std::to_string(i) + ",";
  AtomicFile file(path("big"));
  file.write(text);
  file.commit();
  EXPECT_TRUE(read_text_file(path("big"), 4 << 20) == text);
}

TEST_F(FileTest, AtomicFileFollowsASymbolicLink) {
  put("real", "old");
  fs::create_symlink("real", path("link"));
  AtomicFile file(path("link"));
  file.write("new");
  file.commit();
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_text_file(path("real"), 100), "new");
}

TEST_F(FileTest, UnwritableDestinationsAreNamed) {
  EXPECT_EQ(message_of([&] { AtomicFile file(path("no/such/file")); }),
            path("no/such/file") + ": cannot create: No such file or directory");
  EXPECT_EQ(message_of([&] { AtomicFile file(directory_.string()); }),
            directory_.string() + ": is a directory, expected a file to write");
  EXPECT_EQ(message_of([&] { AtomicFile file("/dev/full"); }),
            "/dev/full: is not a regular file and cannot be replaced");
  EXPECT_EQ(message_of([&] { AtomicFile file("/proc/x"); }).substr(0, 23), "/proc/x: cannot create:");
}

// A limit on the file size stands for the full disk: write(2) fails half way in the same manner.
TEST_F(FileTest, FullDiskLeavesNothingBehind) {
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{2 << 20, old_limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string writing = message_of([&] {
    AtomicFile file(path("out"));
    file.write(std::string(8 << 20, 'x'));
    file.commit();
  });
  setrlimit(RLIMIT_FSIZE, &old_limit);
  signal(SIGXFSZ, old_handler);
  EXPECT_EQ(writing, path("out") + ": cannot write: File too large");
  EXPECT_EQ(files(), 0u);
}

TEST_F(FileTest, ReservingMoreThanThereIsFailsAtOnce) {
  EXPECT_EQ(message_of([&] { AtomicFile(path("out")).reserve(std::uint64_t{1} << 62); }),
            path("out") + ": cannot reserve space: File too large");
  EXPECT_EQ(files(), 0u);
}

}  // namespace
}  // namespace junto
