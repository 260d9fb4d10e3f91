#include "moe/expert_reads.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <utility>

#include "base/error.h"
#include "base/large_pages.h"
#include "kernels/interleave.h"

namespace junto {
namespace {

constexpr std::size_t kMatrixAlignment = 64;
constexpr std::size_t kMatricesInFlight = 8;
// What needs no memory of ours is handed to the system at once: its queue then never waits for a thread of ours, which
// has to find a core among those that compute.
constexpr std::size_t kStraightInFlight = 24;
constexpr std::size_t kPrefetchesInFlight = 8;
constexpr std::size_t kLeastStraight = std::size_t{256} << 10;  // pages that are used in part hardly count
// A matrix is read in pieces, so that the last one of a layer, too, keeps the disk busy with several reads.
constexpr std::size_t kPieceBytes = std::size_t{256} << 10;
constexpr std::size_t kMostPieces = 8;
constexpr std::size_t kStagingBytes = std::size_t{32} << 20;  // in all, but for two matrices where they are larger
constexpr int kMappedThreads = 4;
constexpr int kFinishers = 2;

std::size_t rounded_up(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}

// Pages of the file that the matrix lies in.
std::size_t page_of(const MatrixPlace& place) {
  return place.offset / kDirectAlignment * kDirectAlignment;
}
std::size_t page_bytes(const MatrixPlace& place) {
  return rounded_up(static_cast<std::size_t>(place.offset % kDirectAlignment) + place.stored.bytes(), kDirectAlignment);
}

void put_matrix(const WeightMatrix& stored, std::byte* to) {
  if (gains_from_interleaving(stored)) {
    interleave_groups(stored, {0, interleaved_groups(stored)}, to);
  } else {
    std::memcpy(to, stored.data, stored.bytes());
  }
}

}  // namespace

std::size_t bytes_in_slot(const WeightMatrix& stored) {
  return rounded_up(gains_from_interleaving(stored) ? interleaved_bytes(stored) : stored.bytes(), kMatrixAlignment);
}

SlotRegion region_in_slot(const MatrixPlace& place, bool mapped) {
  const auto skip = static_cast<std::size_t>(place.offset % kDirectAlignment);
  const bool fits = !gains_from_interleaving(place.stored) || interleaves_in_place(place.stored);
  if (!mapped && fits && place.stored.bytes() >= kLeastStraight && skip % kInterleavedAlignment == 0) {
    return {true, page_bytes(place), skip};
  }
  return {false, bytes_in_slot(place.stored), 0};
}

ExpertReads::ExpertReads(std::vector<std::unique_ptr<BlockReader>> readers, std::size_t largest_bytes, bool mapped,
                         ReadEngine engine, std::span<std::byte> slots, std::string where, Done done)
    : readers_(std::move(readers)), mapped_(mapped), where_(std::move(where)), done_(std::move(done)) {
  // Room for the whole pages that a matrix lies in.
  const std::size_t bytes = mapped ? 0 : rounded_up(largest_bytes, kDirectAlignment) + kDirectAlignment;
  const std::size_t count =
      mapped ? kMatricesInFlight : std::clamp<std::size_t>(kStagingBytes / bytes, 2, kMatricesInFlight);
  if (!mapped) memory_ = allocate_weights(std::max(count * bytes, kLargePage));  // of which the first page is aligned
  stagings_.resize(count + (mapped ? 0 : kStraightInFlight));
  for (std::size_t i = 0; i < count; ++i) {
    if (!mapped) stagings_[i].memory = {memory_.get() + i * bytes, bytes};
    free_stagings_.push_back(i);
  }
  for (std::size_t i = count; i < stagings_.size(); ++i) free_straight_.push_back(i);
  const std::span<std::byte> all[] = {{memory_.get(), count * bytes}, slots};
  if (!mapped && engine == ReadEngine::kAuto) queue_ = make_uring_queue(readers_, all);
  if (!queue_) queue_ = make_thread_queue(readers_);
  const int takers = mapped ? kMappedThreads : queue_->takers(static_cast<int>(count));
  has_finishers_ = takers == 1;
  for (int i = 0; i < takers; ++i) threads_.emplace_back([this] { take_results(); });
  for (int i = 0; has_finishers_ && i < kFinishers; ++i) threads_.emplace_back([this] { finish_arrivals(); });
}

ExpertReads::~ExpertReads() {
  queue_->stop();
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  queue_.reset();  // before the memory that it reads into
}

void ExpertReads::submit(std::span<const Job> jobs, Priority priority) {
  const std::lock_guard lock(mutex_);
  if (next_demand_ == demand_.size()) demand_.clear(), next_demand_ = 0;
  std::vector<Job>& waiting = priority == Priority::kDemand ? demand_ : prefetch_;
  waiting.insert(waiting.end(), jobs.begin(), jobs.end());
  start_reads();
}

void ExpertReads::hurry(std::int32_t slot) {
  const std::lock_guard lock(mutex_);
  const auto is_of_slot = [&](const Job& job) { return job.slot == slot; };
  std::ranges::copy_if(prefetch_, std::back_inserter(demand_), is_of_slot);
  std::erase_if(prefetch_, is_of_slot);
  start_reads();
}

int ExpertReads::cancel(std::int32_t slot) {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(std::erase_if(prefetch_, [&](const Job& job) { return job.slot == slot; }));
}

// With mutex_. Few prefetches are under way at a time, so that what is waited for comes soon.
void ExpertReads::start_reads() {
  reads_.clear();
  while (true) {
    const bool demand = next_demand_ < demand_.size();
    if (!demand && (prefetch_.empty() || prefetches_in_flight_ >= kPrefetchesInFlight)) break;
    const Job& job = demand ? demand_[next_demand_] : prefetch_.front();
    std::vector<std::size_t>& free = reads_straight(job) ? free_straight_ : free_stagings_;
    if (free.empty()) break;
    const std::size_t index = free.back();
    free.pop_back();
    Staging& staging = stagings_[index];
    staging.priority = demand ? Priority::kDemand : Priority::kPrefetch;
    staging.job = job;
    demand ? static_cast<void>(++next_demand_) : static_cast<void>(prefetch_.erase(prefetch_.begin()));
    if (!demand) ++prefetches_in_flight_;
    add_reads(index);
  }
  if (!reads_.empty()) queue_->submit(reads_);
}

void ExpertReads::add_reads(std::size_t index) {
  Staging& staging = stagings_[index];
  const MatrixPlace& place = *staging.job.place;
  const std::size_t whole = staging.job.whole_bytes;
  const std::size_t bytes = mapped_ ? 0 : whole > 0 ? whole : page_bytes(place);
  const std::span<std::byte> to = reads_straight(staging.job) ? std::span(staging.job.to, bytes) : staging.memory;
  const std::size_t piece = std::max(kPieceBytes, rounded_up(bytes / kMostPieces, kDirectAlignment));
  staging.got = bytes;
  staging.error = nullptr;
  staging.pieces_left = std::max(1, static_cast<int>((bytes + piece - 1) / piece));
  std::size_t at = 0;
  do {
    BlockRead read;
    read.file = place.file;
    read.offset = page_of(place) + at;
    read.to = to.subspan(at, std::min(piece, bytes - at));
    read.tag = index << 32 | at / kDirectAlignment;
    reads_.push_back(read);
    at += piece;
  } while (at < bytes);
}

void ExpertReads::take_results() {
  while (std::optional<BlockResult> result = queue_->take()) {
    std::optional<Arrival> arrival = collect(std::move(*result));
    if (!arrival) continue;
    if (!has_finishers_) {
      finish(std::move(*arrival));
      continue;
    }
    {
      const std::lock_guard lock(mutex_);
      arrivals_.push_back(std::move(*arrival));
    }
    arrived_.notify_one();
  }
}

void ExpertReads::finish_arrivals() {
  std::unique_lock lock(mutex_);
  while (true) {
    arrived_.wait(lock, [&] { return ends_ || !arrivals_.empty(); });
    if (ends_) return;
    Arrival arrival = std::move(arrivals_.front());
    arrivals_.pop_front();
    lock.unlock();
    finish(std::move(arrival));
    lock.lock();
  }
}

// Counts a piece; a matrix of which it was the last one is handed on, and the next reads begin before anybody works on
// it. An error has one owner at a time, which hands it on: what its last owner frees, no other thread may still read.
std::optional<ExpertReads::Arrival> ExpertReads::collect(BlockResult result) {
  const auto index = static_cast<std::size_t>(result.tag >> 32);
  const std::size_t end = static_cast<std::uint32_t>(result.tag) * kDirectAlignment + result.bytes;
  const std::lock_guard lock(mutex_);
  Staging& staging = stagings_[index];
  if (!staging.error) staging.error = std::move(result.error);
  const bool whole = end % kDirectAlignment == 0 && result.bytes > 0;
  if (!whole) staging.got = std::min(staging.got, end);
  if (--staging.pieces_left > 0) return std::nullopt;
  Arrival arrival{staging.job, index, staging.got, std::move(staging.error)};
  if (staging.priority == Priority::kPrefetch) --prefetches_in_flight_;
  if (!staging.job.to) {  // of measure(): thrown away
    if (arrival.error) measure_error_ = std::move(arrival.error);
    measured_bytes_ += static_cast<std::int64_t>(staging.got);
    --measured_left_;
    free_stagings_.push_back(index);
    start_reads();
    measured_.notify_one();
    return std::nullopt;
  }
  if (!mapped_ && staging.memory.empty()) {
    free_straight_.push_back(index);
    arrival.staging.reset();
  }
  start_reads();
  return arrival;
}

void ExpertReads::finish(Arrival arrival) {
  try {
    if (!arrival.error) put(arrival);
  } catch (...) {
    arrival.error = std::current_exception();
  }
  if (arrival.staging) {
    const std::lock_guard lock(mutex_);
    free_stagings_.push_back(*arrival.staging);
    start_reads();
  }
  done_(arrival.job, std::move(arrival.error));
}

double ExpertReads::measure(std::span<const Job> jobs, double seconds) {
  if (mapped_ || jobs.empty()) return 0;
  std::mt19937 random(static_cast<unsigned>(std::chrono::steady_clock::now().time_since_epoch().count()));
  std::unique_lock lock(mutex_);
  measured_bytes_ = 0;
  const auto begin = std::chrono::steady_clock::now();
  const auto passed_s = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  while (passed_s() < seconds && !measure_error_) {
    measured_.wait(lock, [&] { return !free_stagings_.empty(); });
    if (next_demand_ == demand_.size()) demand_.clear(), next_demand_ = 0;
    demand_.push_back(jobs[random() % jobs.size()]);
    ++measured_left_;
    start_reads();
  }
  measured_.wait(lock, [&] { return measured_left_ == 0; });
  if (measure_error_) std::rethrow_exception(std::exchange(measure_error_, nullptr));
  return static_cast<double>(measured_bytes_) / passed_s();
}

void ExpertReads::put(const Arrival& arrival) const {
  const Job& job = arrival.job;
  const MatrixPlace& place = *job.place;
  if (mapped_) return put_matrix(place.stored, job.to);
  const auto skip = static_cast<std::size_t>(place.offset % kDirectAlignment);
  const std::size_t needed = job.whole_bytes > 0 ? job.whole_bytes : skip + place.stored.bytes();
  if (arrival.got < needed) {
    fail(where_, "ends at byte " + std::to_string(place.offset - skip + arrival.got) +
                     " within an expert that ends at byte " + std::to_string(place.offset - skip + needed) +
                     ": was it changed while it was used?");
  }
  if (job.whole_bytes > 0) return;  // as it belongs already
  if (job.straight) {
    if (gains_from_interleaving(place.stored)) interleave_in_place(place.stored, job.to + skip);
    return;
  }
  WeightMatrix read = place.stored;
  read.data = stagings_[*arrival.staging].memory.data() + skip;
  put_matrix(read, job.to);
}

}  // namespace junto
