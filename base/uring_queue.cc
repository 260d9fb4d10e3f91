// The queue of reads that the kernel keeps: io_uring, with registered buffers where it lets us.
#include <liburing.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>
#include <system_error>

#include "base/block_queue.h"
#include "base/error.h"

namespace junto {
namespace {

constexpr unsigned kEntries = 256;
constexpr std::size_t kLargestBuffer = std::size_t{1} << 30;  // that can be registered as one
constexpr std::size_t kLongestRead = std::size_t{1} << 30;
constexpr std::uint64_t kWakeUp = ~std::uint64_t{0};

class UringQueue : public BlockQueue {
 public:
  explicit UringQueue(BlockReaders readers) : readers_(readers) {
    for (std::size_t i = 0; i < kEntries; ++i) free_.push_back(kEntries - 1 - i);
    ready_ = io_uring_queue_init(2 * kEntries, &ring_, 0) == 0;
  }
  ~UringQueue() override {
    if (!ready_) return;
    stop();
    drain();
    io_uring_queue_exit(&ring_);
  }
  UringQueue(const UringQueue&) = delete;
  UringQueue& operator=(const UringQueue&) = delete;

  bool ready() const { return ready_; }

  void register_memory(std::span<const std::span<std::byte>> registered) {
    std::vector<iovec> buffers;
    for (std::span<std::byte> part : registered) {
      for (; !part.empty(); part = part.subspan(std::min(part.size(), kLargestBuffer))) {
        buffers.push_back({part.data(), std::min(part.size(), kLargestBuffer)});
      }
    }
    if (buffers.empty() || io_uring_register_buffers(&ring_, buffers.data(), buffers.size()) != 0) return;
    registered_ = std::move(buffers);
  }

  void submit(std::span<const BlockRead> reads) override {
    const std::lock_guard lock(submit_mutex_);
    for (const BlockRead& read : reads) {
      assert(!free_.empty());
      const std::size_t entry = free_.back();
      free_.pop_back();
      pending_[entry] = {read, 0};
      ++in_flight_;
      prepare(entry);
    }
    enter();
  }

  std::optional<BlockResult> take() override {
    while (true) {
      io_uring_cqe* event = nullptr;
      std::uint64_t entry = kWakeUp;
      int got = 0;
      {
        const std::lock_guard one_waits(take_mutex_);
        if (stopped_) return std::nullopt;
        const int status = io_uring_wait_cqe(&ring_, &event);
        if (status == -EINTR || status == -EAGAIN) continue;
        if (status < 0) throw std::system_error(-status, std::generic_category(), "io_uring");
        entry = event->user_data;
        got = event->res;
        io_uring_cqe_seen(&ring_, event);
      }
      if (entry == kWakeUp) continue;
      if (const auto result = finish(static_cast<std::size_t>(entry), got)) return result;
    }
  }

  void stop() override {
    const std::lock_guard lock(submit_mutex_);
    if (stopped_.exchange(true)) return;
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_nop(sqe);
    sqe->user_data = kWakeUp;
    enter();
  }

  std::size_t capacity() const override { return kEntries; }
  int takers(int) const override { return 1; }
  std::string_view name() const override { return "io_uring"; }

 private:
  struct Pending {
    BlockRead read;
    std::size_t done = 0;
  };

  // The registered buffer that holds `to` whole, or -1.
  int buffer_of(std::span<const std::byte> to) const {
    for (std::size_t i = 0; i < registered_.size(); ++i) {
      const auto* const base = static_cast<const std::byte*>(registered_[i].iov_base);
      if (to.data() >= base && to.data() + to.size() <= base + registered_[i].iov_len) return static_cast<int>(i);
    }
    return -1;
  }

  // With submit_mutex_.
  void prepare(std::size_t entry) {
    const Pending& pending = pending_[entry];
    const std::span<std::byte> left = pending.read.to.subspan(pending.done);
    const auto to = left.first(std::min(left.size(), kLongestRead));
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);  // there is one: twice as many as entries
    if (to.empty()) {
      io_uring_prep_nop(sqe);
    } else {
      const int fd = readers_[pending.read.file]->descriptor();
      const auto bytes = static_cast<unsigned>(to.size());
      const std::uint64_t at = pending.read.offset + pending.done;
      const int buffer = buffer_of(to);
      buffer < 0 ? io_uring_prep_read(sqe, fd, to.data(), bytes, at)
                 : io_uring_prep_read_fixed(sqe, fd, to.data(), bytes, at, buffer);
    }
    sqe->user_data = entry;
  }

  // One system call for all that was prepared. With submit_mutex_.
  void enter() {
    while (io_uring_sq_ready(&ring_) > 0) io_uring_submit(&ring_);  // again where it was interrupted
  }

  // The result, or none where the rest of the read was started.
  std::optional<BlockResult> finish(std::size_t entry, int got) {
    const std::lock_guard lock(submit_mutex_);
    Pending& pending = pending_[entry];
    BlockResult result;
    result.tag = pending.read.tag;
    const bool again = got == -EINTR || got == -EAGAIN;
    if (got > 0) pending.done += static_cast<std::size_t>(got);
    // A direct read that ends off the alignment has met the end of the file.
    const bool partly = got > 0 && pending.done < pending.read.to.size() && pending.done % kDirectAlignment == 0;
    if (again || partly) {
      prepare(entry);
      enter();
      return std::nullopt;
    }
    if (got < 0) {
      try {
        fail(readers_[pending.read.file]->path(),
             "cannot read at byte " + std::to_string(pending.read.offset + pending.done) + ": " + std::strerror(-got));
      } catch (...) {
        result.error = std::current_exception();
      }
    }
    result.bytes = pending.done;
    free_.push_back(entry);
    --in_flight_;
    return result;
  }

  // What the kernel still writes to must not go away.
  void drain() {
    while (in_flight_ > 0) {
      io_uring_cqe* event = nullptr;
      if (io_uring_wait_cqe(&ring_, &event) < 0) continue;
      if (event->user_data != kWakeUp) --in_flight_;
      io_uring_cqe_seen(&ring_, event);
    }
  }

  BlockReaders readers_;
  io_uring ring_{};
  bool ready_ = false;
  std::vector<iovec> registered_;
  std::mutex submit_mutex_;  // submissions, pending reads
  std::mutex take_mutex_;    // completions
  std::atomic<bool> stopped_{false};
  Pending pending_[kEntries];
  std::vector<std::size_t> free_;
  std::size_t in_flight_ = 0;
};

}  // namespace

std::unique_ptr<BlockQueue> make_uring_queue(BlockReaders readers, std::span<const std::span<std::byte>> registered) {
  for (const auto& reader : readers) {
    if (reader->descriptor() < 0) return nullptr;
  }
  auto queue = std::make_unique<UringQueue>(readers);
  if (!queue->ready()) return nullptr;
  queue->register_memory(registered);
  return queue;
}

}  // namespace junto
