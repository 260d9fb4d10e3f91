// Brings matrices of experts from files into slots: many reads in flight, what is waited for before what was predicted,
// rows interleaved on arrival. Most matrices are read to where they stay, pages of the file to pages of the slot; small
// ones, and those that are larger interleaved, come through memory of this class.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/block_queue.h"
#include "kernels/matmul.h"
#include "moe/read_priority.h"

namespace junto {

/// How files are read.
enum class ReadEngine : std::uint8_t {
  kAuto,     // io_uring where the system lets us, else threads
  kThreads,  // one read a thread
};

/// Where the bytes of a matrix stand; `stored` tells its type and shape.
struct MatrixPlace {
  WeightMatrix stored;
  std::size_t file = 0;  // index of its reader
  std::uint64_t offset = 0;
};

/// Bytes of `stored` as a slot has it: interleaved where the kernels gain from that, a multiple of 64.
std::size_t bytes_in_slot(const WeightMatrix& stored);

/// What a matrix takes of a slot.
struct SlotRegion {
  bool straight = false;  // whole pages, read from the file's pages; interleaved there where the kernels gain from that
  std::size_t bytes = 0;
  std::size_t skip = 0;  // where the matrix begins
};
/// `mapped`: bytes are copied, not read.
SlotRegion region_in_slot(const MatrixPlace& place, bool mapped);

class ExpertReads {
 public:
  struct Job {
    const MatrixPlace* place = nullptr;
    std::byte* to = nullptr;  // null: of measure()
    std::int32_t slot = -1;
    std::size_t whole_bytes = 0;  // read from the place's begin straight to `to`, both on pages; 0: the place's matrix
    bool straight = false;        // `to` is a straight region
  };
  /// A job's matrix is in its slot, or could not be read. Called by a thread of this class.
  using Done = std::function<void(const Job& job, std::exception_ptr error)>;

  /// `mapped`: places' bytes are in memory, and are copied from there instead of read. largest_bytes: of any stored
  /// matrix. `slots`: memory that whole
  /// experts are read into, pinned where the system lets us. `where` begins errors.
  ExpertReads(std::vector<std::unique_ptr<BlockReader>> readers, std::size_t largest_bytes, bool mapped,
              ReadEngine engine, std::span<std::byte> slots, std::string where, Done done);
  ~ExpertReads();

  void submit(std::span<const Job> jobs, Priority priority);
  /// Prefetches of this slot that have not begun are read as if they were waited for.
  void hurry(std::int32_t slot);
  /// Prefetches of this slot that have not begun are forgotten: how many.
  int cancel(std::int32_t slot);

  /// Bytes per second that the files give: jobs at random (their `to` is null), as many in flight as when experts are
  /// read, thrown away on arrival, for about `seconds`. Nothing else may be submitted meanwhile. 0 where nothing is
  /// read.
  double measure(std::span<const Job> jobs, double seconds);

  /// "io_uring", "threads".
  std::string_view engine() const { return queue_->name(); }

 private:
  struct Staging {
    std::span<std::byte> memory;  // none: of what is read to where it stays
    Job job;
    Priority priority = Priority::kDemand;
    int pieces_left = 0;
    std::size_t got = 0;  // bytes from the front of the memory that were read
    std::exception_ptr error;
  };

  /// A matrix all of whose pieces have come.
  struct Arrival {
    Job job;
    std::optional<std::size_t> staging;  // whose memory has it; none where it was read to where it stays
    std::size_t got = 0;
    std::exception_ptr error;
  };

  static bool reads_straight(const Job& job) { return job.to && (job.whole_bytes > 0 || job.straight); }
  void start_reads();
  void add_reads(std::size_t index);
  void take_results();
  std::optional<Arrival> collect(BlockResult result);
  void finish_arrivals();
  void finish(Arrival arrival);
  void put(const Arrival& arrival) const;

  std::vector<std::unique_ptr<BlockReader>> readers_;
  bool mapped_;
  std::string where_;
  Done done_;
  std::shared_ptr<std::byte> memory_;  // of all stagings
  std::unique_ptr<BlockQueue> queue_;
  std::mutex mutex_;
  std::vector<Job> demand_, prefetch_;  // waiting; the first demand at next_demand_, prefetches from the front
  std::size_t next_demand_ = 0;
  std::vector<Staging> stagings_;
  std::vector<std::size_t> free_stagings_, free_straight_;
  std::size_t prefetches_in_flight_ = 0;
  std::vector<BlockRead> reads_;    // to be submitted together
  std::int64_t measured_left_ = 0;  // reads of measure() under way
  std::int64_t measured_bytes_ = 0;
  std::exception_ptr measure_error_;
  std::condition_variable measured_;
  // Where one thread waits for the system it does nothing else, so that the disk has its next reads at once; others
  // finish what arrived.
  std::deque<Arrival> arrivals_;
  std::condition_variable arrived_;
  bool ends_ = false;
  bool has_finishers_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace junto
