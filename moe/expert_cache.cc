#include "moe/expert_cache.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "kernels/interleave.h"

namespace junto {
namespace {

constexpr std::size_t kMatrixAlignment = 64;

std::size_t rounded_up(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}

std::size_t bytes_in_slot(const WeightMatrix& stored) {
  return rounded_up(gains_from_interleaving(stored) ? interleaved_bytes(stored) : stored.stored_bytes(),
                    kMatrixAlignment);
}

std::size_t bytes_in_slot(const ExpertPlace& place) {
  std::size_t bytes = 0;
  for (const MatrixPlace& matrix : place.places) bytes += bytes_in_slot(matrix.stored);
  return bytes;
}

std::vector<int> sizes_of(const std::vector<std::vector<ExpertPlace>>& experts) {
  std::vector<int> sizes;
  for (const auto& layer : experts) sizes.push_back(static_cast<int>(layer.size()));
  return sizes;
}

/// Stored or interleaved, the matrix as a slot has it.
WeightMatrix matrix_at(const WeightMatrix& stored, const std::byte* data, std::shared_ptr<const void> keep_alive) {
  if (gains_from_interleaving(stored)) {
    return interleaved_weights(stored, data, std::move(keep_alive));
  }
  WeightMatrix out = stored;
  out.data = data;
  out.keep_alive = std::move(keep_alive);
  return out;
}

/// Into a slot.
void put_matrix(const WeightMatrix& stored, std::byte* to) {
  if (gains_from_interleaving(stored)) {
    interleave_groups(stored, {0, interleaved_groups(stored)}, to);
  } else {
    std::memcpy(to, stored.data, stored.stored_bytes());
  }
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

ExpertCache::ExpertCache(std::vector<std::vector<ExpertPlace>> experts,
                         std::vector<std::unique_ptr<BlockReader>> readers, const ExpertCacheOptions& options,
                         std::string where)
    : options_(options),
      where_(std::move(where)),
      readers_(std::move(readers)),
      eviction_(options.evict, sizes_of(experts), options.known) {
  for (auto& layer : experts) {
    for (ExpertPlace& place : layer) {
      if (!place.places.empty()) ++experts_;
      slot_bytes_ = std::max(slot_bytes_, bytes_in_slot(place));
      for (const MatrixPlace& matrix : place.places) {
        largest_matrix_ = std::max(largest_matrix_, matrix.stored.stored_bytes());
      }
      places_.push_back(std::move(place));
    }
  }
  if (experts_ == 0) fail(where_, "has no experts to stream");
  const auto budget = static_cast<std::size_t>(std::max<std::int64_t>(0, options.budget_bytes));
  const std::size_t count = std::min(budget / slot_bytes_, static_cast<std::size_t>(experts_));
  if (count == 0) {
    fail(where_, "expert memory is " + std::to_string(budget) + " bytes, expected at least the " +
                     std::to_string(slot_bytes_) + " of one expert");
  }
  memory_ = allocate_weights(count * slot_bytes_);
  slots_.resize(count);
  for (std::size_t s = 0; s < count; ++s) slots_[s].data = memory_.get() + s * slot_bytes_;
  slot_of_cell_.assign(places_.size(), -1);
  for (int i = 0; i < std::max(1, options.readers); ++i) threads_.emplace_back([this] { read_jobs(); });
}

ExpertCache::~ExpertCache() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  has_jobs_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

ExpertCacheCounters ExpertCache::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void ExpertCache::reset_counters() {
  const std::lock_guard lock(mutex_);
  counters_ = {};
}

const ExpertWeights* ExpertCache::expert(int layer, std::int32_t expert) const {
  const std::int32_t slot = slot_of_cell_[static_cast<std::size_t>(eviction_.cell_of(layer, expert))];
  return &slots_[static_cast<std::size_t>(slot)].weights;
}

void ExpertCache::run(int layer, std::span<const std::int32_t> experts, const Compute& compute) {
  const std::lock_guard one_layer(run_mutex_);
  std::unique_lock lock(mutex_);
  eviction_.enter(layer);
  missing_.clear();
  waiting_.clear();
  for (const std::int32_t e : experts) {
    const std::int32_t cell = eviction_.cell_of(layer, e);
    eviction_.use(layer, e);
    const std::int32_t slot = slot_of_cell_[static_cast<std::size_t>(cell)];
    if (slot >= 0) slots_[static_cast<std::size_t>(slot)].wanted = true;
    (slot >= 0 ? waiting_ : missing_).push_back(e);
  }
  counters_.hits += std::ssize(waiting_);
  counters_.misses += std::ssize(missing_);
  std::reverse(missing_.begin(), missing_.end());  // taken from the back: in the order of the file
  try {
    while (!waiting_.empty() || !missing_.empty()) {
      start_loads(layer, missing_);
      const double begin = now_s();
      has_news_.wait(lock, [&] {
        take_ready(layer);
        return !ready_.empty() || error_;
      });
      counters_.stall_s += now_s() - begin;
      if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
      lock.unlock();
      compute(ready_);
      lock.lock();
      for (const std::int32_t e : ready_) {
        slots_[static_cast<std::size_t>(slot_of_cell_[static_cast<std::size_t>(eviction_.cell_of(layer, e))])].wanted =
            false;
        std::erase(waiting_, e);
      }
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    settle(lock);
    throw;
  }
}

// After an error: what is being read is waited for, what failed is forgotten, and nothing is wanted any more.
void ExpertCache::settle(std::unique_lock<std::mutex>& lock) {
  has_news_.wait(lock, [&] {
    return std::ranges::none_of(slots_, [](const Slot& slot) { return slot.state == State::kLoading; });
  });
  for (Slot& slot : slots_) {
    slot.wanted = false;
    if (slot.state != State::kFailed) continue;
    slot_of_cell_[static_cast<std::size_t>(slot.cell)] = -1;
    slot.state = State::kEmpty;
  }
  error_ = nullptr;
}

void ExpertCache::take_ready(int layer) {
  ready_.clear();
  for (const std::int32_t e : waiting_) {
    const std::int32_t slot = slot_of_cell_[static_cast<std::size_t>(eviction_.cell_of(layer, e))];
    if (slots_[static_cast<std::size_t>(slot)].state == State::kReady) ready_.push_back(e);
  }
  std::ranges::sort(ready_);
}

void ExpertCache::start_loads(int layer, std::vector<std::int32_t>& missing) {
  bool started = false;
  while (!missing.empty()) {
    const std::int32_t slot = free_slot();
    if (slot < 0) break;
    load(slot, eviction_.cell_of(layer, missing.back()));
    waiting_.push_back(missing.back());
    missing.pop_back();
    started = true;
  }
  if (started) has_jobs_.notify_all();
}

// An empty slot, or one whose expert goes; -1 where all are wanted.
std::int32_t ExpertCache::free_slot() {
  candidates_.clear();
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    if (slots_[s].state == State::kEmpty) return static_cast<std::int32_t>(s);
    if (slots_[s].state == State::kReady && !slots_[s].wanted) candidates_.push_back(slots_[s].cell);
  }
  if (candidates_.empty()) return -1;
  const auto cell = static_cast<std::size_t>(eviction_.victim(candidates_));
  return std::exchange(slot_of_cell_[cell], -1);
}

void ExpertCache::load(std::int32_t index, std::int32_t cell) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  const ExpertPlace& place = places_[static_cast<std::size_t>(cell)];
  slot.state = State::kLoading;
  slot.cell = cell;
  slot.wanted = true;
  slot.failed = false;
  slot.matrices_left = static_cast<int>(place.places.size());
  slot_of_cell_[static_cast<std::size_t>(cell)] = index;
  slot.weights = *place.weights;
  Linear* const linears[] = {&slot.weights.gate, &slot.weights.up, &slot.weights.down};
  std::byte* at = slot.data;
  for (std::size_t m = 0; m < place.places.size(); ++m) {
    const WeightMatrix& stored = place.places[m].stored;
    linears[m + 3 - place.places.size()]->weights = matrix_at(stored, at, memory_);
    if (next_job_ == jobs_.size()) jobs_.clear(), next_job_ = 0;
    jobs_.push_back({index, m, at});
    at += bytes_in_slot(stored);
  }
}

void ExpertCache::read_jobs() {
  // Room for the whole pages that a matrix lies in.
  const std::size_t bytes =
      options_.mapped ? kDirectAlignment : rounded_up(largest_matrix_, kDirectAlignment) + 2 * kDirectAlignment;
  const std::unique_ptr<std::byte, decltype(&std::free)> staging(
      static_cast<std::byte*>(std::aligned_alloc(kDirectAlignment, bytes)), std::free);
  std::unique_lock lock(mutex_);
  while (true) {
    has_jobs_.wait(lock, [&] { return stop_ || next_job_ < jobs_.size(); });
    if (stop_) return;
    const Job job = jobs_[next_job_++];
    Slot& slot = slots_[static_cast<std::size_t>(job.slot)];
    const MatrixPlace& place = places_[static_cast<std::size_t>(slot.cell)].places[job.matrix];
    lock.unlock();
    std::exception_ptr error;
    try {
      if (!staging) throw std::bad_alloc();
      read_matrix(place, {staging.get(), bytes}, job.to);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    counters_.bytes_read += static_cast<std::int64_t>(place.stored.stored_bytes());
    if (error) slot.failed = true;
    if (error && !error_) error_ = error;
    if (--slot.matrices_left > 0) continue;
    slot.state = slot.failed ? State::kFailed : State::kReady;
    has_news_.notify_all();
  }
}

void ExpertCache::read_matrix(const MatrixPlace& place, std::span<std::byte> staging, std::byte* to) {
  if (options_.mapped) return put_matrix(place.stored, to);
  const std::size_t wanted = place.stored.stored_bytes();
  const std::uint64_t begin = place.offset / kDirectAlignment * kDirectAlignment;
  const auto skip = static_cast<std::size_t>(place.offset - begin);
  const std::span<std::byte> window = staging.first(rounded_up(skip + wanted, kDirectAlignment));
  const std::size_t got = readers_[place.file]->read(begin, window);
  if (got < skip + wanted) {
    fail(where_, "ends at byte " + std::to_string(begin + got) + " within an expert that ends at byte " +
                     std::to_string(place.offset + wanted) + ": was it changed while it was used?");
  }
  WeightMatrix read = place.stored;
  read.data = window.data() + skip;
  put_matrix(read, to);
}

}  // namespace junto
