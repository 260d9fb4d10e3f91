#include "base/throttled_reader.h"

#include <algorithm>
#include <span>
#include <string>
#include <thread>
#include <utility>

namespace junto {
namespace {

class ThrottledReader : public BlockReader {
 public:
  ThrottledReader(std::unique_ptr<BlockReader> reader, std::shared_ptr<RateLimit> limit)
      : reader_(std::move(reader)), limit_(std::move(limit)) {}

  std::size_t read(std::uint64_t offset, std::span<std::byte> to) override {
    const std::size_t bytes = reader_->read(offset, to);
    limit_->serve(bytes);
    return bytes;
  }
  std::string path() const override { return reader_->path(); }

 private:
  std::unique_ptr<BlockReader> reader_;
  std::shared_ptr<RateLimit> limit_;
};

}  // namespace

// A disk that was idle owes nothing: time that has passed is not made up for.
void RateLimit::serve(std::size_t bytes) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point end;
  {
    const std::lock_guard lock(mutex_);
    const std::chrono::duration<double> takes(static_cast<double>(bytes) / bytes_per_s_);
    free_at_ = std::max(free_at_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(takes);
    end = free_at_;
  }
  std::this_thread::sleep_until(end);
}

std::unique_ptr<BlockReader> throttle(std::unique_ptr<BlockReader> reader, std::shared_ptr<RateLimit> limit) {
  return std::make_unique<ThrottledReader>(std::move(reader), std::move(limit));
}

}  // namespace junto
