// Reads in flight: io_uring and threads give the same bytes and the same errors, and where io_uring is forbidden there
// is none.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <span>
#include <thread>

#include "base/block_queue.h"
#include "base/error.h"

namespace junto {
namespace {

constexpr std::size_t kBlock = 4 * kDirectAlignment;

struct Aligned {
  explicit Aligned(std::size_t size)
      : bytes(static_cast<std::byte*>(std::aligned_alloc(kDirectAlignment, size)), size) {
    std::memset(bytes.data(), 0, size);
  }
  ~Aligned() { std::free(bytes.data()); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  std::span<std::byte> bytes;
};

class BlockQueueTest : public testing::TestWithParam<const char*> {
 protected:
  BlockQueueTest() {
    std::mt19937 random(5);
    for (char& c : contents_) c = static_cast<char>(random());
    std::ofstream(path_, std::ios::binary).write(contents_.data(), std::ssize(contents_));
    readers_.push_back(open_block_reader(path_));
  }
  ~BlockQueueTest() override { std::filesystem::remove(path_); }

  std::unique_ptr<BlockQueue> make_queue(std::span<std::byte> memory) {
    const std::span<std::byte> all[] = {memory};
    if (std::string(GetParam()) == "threads") return make_thread_queue(readers_);
    auto queue = make_uring_queue(readers_, all);
    return queue ? std::move(queue) : make_thread_queue(readers_);  // as programs do
  }

  const std::string path_ =
      (std::filesystem::temp_directory_path() / ("junto_queue_" + std::to_string(getpid()))).string();
  std::string contents_ = std::string(20 * kBlock + 100, 0);
  std::vector<std::unique_ptr<BlockReader>> readers_;
};

TEST_P(BlockQueueTest, EveryReadComesBackOnceWithItsBytes) {
  Aligned memory(32 * kBlock);
  const auto queue = make_queue(memory.bytes);
  std::mt19937 random(1);
  for (int round = 0; round < 6; ++round) {
    std::vector<BlockRead> reads;
    for (std::uint64_t i = 0; i < 32; ++i) {
      reads.push_back({0, random() % 20 * kBlock, memory.bytes.subspan(i * kBlock, kBlock), i});
    }
    reads[3].to = {};
    queue->submit(reads);
    std::set<std::uint64_t> tags;
    for (std::size_t i = 0; i < reads.size(); ++i) {
      const auto result = queue->take();
      ASSERT_TRUE(result && !result->error);
      const BlockRead& read = reads[result->tag];
      EXPECT_EQ(result->bytes, read.to.size());
      const auto expected = std::as_bytes(std::span(contents_)).subspan(read.offset, read.to.size());
      EXPECT_TRUE(std::ranges::equal(read.to, expected));
      tags.insert(result->tag);
    }
    EXPECT_EQ(tags.size(), reads.size());
  }
}

TEST_P(BlockQueueTest, AReadBeyondTheEndGivesWhatThereIs) {
  Aligned memory(2 * kBlock);
  const auto queue = make_queue(memory.bytes);
  const BlockRead reads[] = {{0, 20 * kBlock, memory.bytes.first(kBlock), 1},
                             {0, 24 * kBlock, memory.bytes.last(kBlock), 2}};
  queue->submit(reads);
  for (int i = 0; i < 2; ++i) {
    const auto result = queue->take();
    ASSERT_TRUE(result && !result->error);
    EXPECT_EQ(result->bytes, result->tag == 1 ? 100u : 0u);
  }
}

TEST_P(BlockQueueTest, AnErrorNamesTheFileAndTheByte) {
  readers_.push_back(open_block_reader(std::filesystem::temp_directory_path().string()));  // no file
  Aligned memory(kBlock);
  const auto queue = make_queue(memory.bytes);
  const BlockRead read[] = {{1, kBlock, memory.bytes, 7}};
  queue->submit(read);
  const auto result = queue->take();
  ASSERT_TRUE(result && result->error);
  EXPECT_EQ(result->tag, 7u);
  try {
    std::rethrow_exception(result->error);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              std::filesystem::temp_directory_path().string() + ": cannot read at byte 16384: Is a directory");
  }
}

TEST_P(BlockQueueTest, StopWakesAllThatWait) {
  Aligned memory(kBlock);
  const auto queue = make_queue(memory.bytes);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { EXPECT_FALSE(queue->take()); });
  queue->stop();
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(queue->take());
}

TEST_P(BlockQueueTest, ReadsUnderWayEndBeforeTheQueueDoes) {
  Aligned memory(16 * kBlock);
  for (int round = 0; round < 6; ++round) {
    const auto queue = make_queue(memory.bytes);
    std::vector<BlockRead> reads;
    for (std::uint64_t i = 0; i < 16; ++i)
      reads.push_back({0, i * kBlock, memory.bytes.subspan(i * kBlock, kBlock), i});
    queue->submit(reads);
    if (round % 2 == 0) queue->take();
  }
}

INSTANTIATE_TEST_SUITE_P(Queues, BlockQueueTest, testing::Values("io_uring", "threads"),
                         [](const auto& queue) { return std::string(queue.param); });

// As containers forbid it: by a filter of system calls.
void forbid_io_uring() {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {4, rules};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    std::_Exit(3);
  }
}

TEST(UringQueue, IsNoneWhereItIsForbidden) {
  EXPECT_EXIT(
      {
        forbid_io_uring();
        std::_Exit(make_uring_queue({}, {}) ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace junto
