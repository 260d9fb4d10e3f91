#include "base/block_queue.h"

#include <condition_variable>
#include <mutex>

namespace junto {
namespace {

class ThreadQueue : public BlockQueue {
 public:
  explicit ThreadQueue(BlockReaders readers) : readers_(readers) {}

  void submit(std::span<const BlockRead> reads) override {
    {
      const std::lock_guard lock(mutex_);
      if (first_ == waiting_.size()) waiting_.clear(), first_ = 0;
      waiting_.insert(waiting_.end(), reads.begin(), reads.end());
    }
    has_reads_.notify_all();
  }

  std::optional<BlockResult> take() override {
    BlockRead read;
    {
      std::unique_lock lock(mutex_);
      has_reads_.wait(lock, [&] { return stopped_ || first_ < waiting_.size(); });
      if (stopped_) return std::nullopt;
      read = waiting_[first_++];
    }
    BlockResult result;
    result.tag = read.tag;
    try {
      if (!read.to.empty()) result.bytes = readers_[read.file]->read(read.offset, read.to);
    } catch (...) {
      result.error = std::current_exception();
    }
    return result;
  }

  void stop() override {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    has_reads_.notify_all();
  }

  std::size_t capacity() const override { return 4096; }
  int takers(int in_flight) const override { return in_flight; }
  std::string_view name() const override { return "threads"; }

 private:
  BlockReaders readers_;
  std::mutex mutex_;
  std::condition_variable has_reads_;
  std::vector<BlockRead> waiting_;  // first read at first_
  std::size_t first_ = 0;
  bool stopped_ = false;
};

}  // namespace

std::unique_ptr<BlockQueue> make_thread_queue(BlockReaders readers) {
  return std::make_unique<ThreadQueue>(readers);
}

}  // namespace junto
