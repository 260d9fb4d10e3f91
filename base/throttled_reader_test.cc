#include "base/throttled_reader.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

/// A file of so many bytes, each of which is the number of its page.
class Pages : public BlockReader {
 public:
  std::size_t read(std::uint64_t offset, std::span<std::byte> to) override {
    if (offset > kDirectAlignment * 100) fail("pages", "has no such page");
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = static_cast<std::byte>((offset + i) / kDirectAlignment);
    return to.size();
  }
  int descriptor() const override { return 1; }
  std::string path() const override { return "pages"; }
};

double seconds_of(const auto& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(ThrottledReader, GivesTheBytesAndNoDescriptor) {
  const auto reader = throttle(std::make_unique<Pages>(), std::make_shared<RateLimit>(1e9));
  std::vector<std::byte> bytes(2 * kDirectAlignment);
  EXPECT_EQ(reader->read(3 * kDirectAlignment, bytes), bytes.size());
  EXPECT_EQ(bytes.front(), std::byte{3});
  EXPECT_EQ(bytes.back(), std::byte{4});
  EXPECT_EQ(reader->descriptor(), -1);  // io_uring would read past the limit
  EXPECT_EQ(reader->path(), "pages");
  EXPECT_THROW(reader->read(kDirectAlignment * 101, bytes), Error);
}

TEST(ThrottledReader, ReadersAndThreadsShareOneRate) {
  constexpr double kRate = 100 * kDirectAlignment / 0.1;  // a hundred pages in 0.1 s
  const auto limit = std::make_shared<RateLimit>(kRate);
  const double seconds = seconds_of([&] {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        const auto reader = throttle(std::make_unique<Pages>(), limit);
        std::vector<std::byte> page(kDirectAlignment);
        for (int i = 0; i < 25; ++i) reader->read(0, page);
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  EXPECT_GE(seconds, 0.099);
}

TEST(ThrottledReader, APauseIsNotMadeUpFor) {
  RateLimit limit(1e6);
  limit.serve(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_GE(seconds_of([&] { limit.serve(20000); }), 0.0199);
}

}  // namespace
}  // namespace junto
