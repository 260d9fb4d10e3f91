// Many direct reads in flight. Callers hand reads in and take results out; what happens between is io_uring, or, where
// the system forbids that, the threads that take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/block_reader.h"

namespace junto {

struct BlockRead {
  std::size_t file = 0;      // index among the queue's readers
  std::uint64_t offset = 0;  // a multiple of kDirectAlignment
  /// Address and size are multiples as well. Empty: nothing is read, the result comes all the same.
  std::span<std::byte> to;
  std::uint64_t tag = 0;  // comes back with the result
};

struct BlockResult {
  std::uint64_t tag = 0;
  std::size_t bytes = 0;     // fewer than asked for where the file ends within
  std::exception_ptr error;  // an Error naming the file
};

/// All calls may come from any thread. Memory that is read into, and the readers, outlive the queue.
class BlockQueue {
 public:
  virtual ~BlockQueue() = default;
  /// Never waits for the disk. At most capacity() reads may have been submitted and not taken.
  virtual void submit(std::span<const BlockRead> reads) = 0;
  /// Waits for a result; none after stop().
  virtual std::optional<BlockResult> take() = 0;
  /// Nothing is submitted any more: take() returns at once, now and from now on.
  virtual void stop() = 0;
  virtual std::size_t capacity() const = 0;
  /// Threads that should call take() at the same time, so that `in_flight` reads are under way.
  virtual int takers(int in_flight) const = 0;
  virtual std::string_view name() const = 0;  // "io_uring", "threads"
};

using BlockReaders = std::span<const std::unique_ptr<BlockReader>>;

/// take() reads itself, through BlockReader::read: as many reads are in flight as threads take.
std::unique_ptr<BlockQueue> make_thread_queue(BlockReaders readers);

/// Null where the system has no io_uring for us, or a reader has no descriptor. Reads into `registered` memory spare
/// the kernel the work of pinning its pages each time, where the limit of locked memory allows that.
std::unique_ptr<BlockQueue> make_uring_queue(BlockReaders readers, std::span<const std::span<std::byte>> registered);

}  // namespace junto
