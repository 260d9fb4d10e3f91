#include "moe/expert_cache.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/large_pages.h"
#include "format/packed_experts.h"
#include "kernels/interleave.h"

namespace junto {
namespace {

std::size_t on_page(std::size_t bytes) {
  return (bytes + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment;
}

/// Calls visit(place, region, where the region begins in a slot) for each matrix; returns the bytes of all.
template <class Visit>
std::size_t each_region(const ExpertPlace& expert, bool mapped, Visit visit) {
  std::size_t at = 0;
  for (const MatrixPlace& place : expert.places) {
    // Of whole experts the file has the matrices one behind the other.
    const SlotRegion region =
        expert.whole_bytes > 0 ? SlotRegion{false, bytes_in_slot(place.stored), 0} : region_in_slot(place, mapped);
    if (region.straight) at = on_page(at);
    visit(place, region, at);
    at += region.bytes;
  }
  return std::max(at, expert.whole_bytes);
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

}  // namespace

ExpertCache::ExpertCache(std::vector<std::vector<ExpertPlace>> experts,
                         std::vector<std::unique_ptr<BlockReader>> readers, const ExpertCacheOptions& options,
                         std::string where)
    : options_(options), where_(std::move(where)) {
  const std::vector<int> sizes = sizes_of(experts);
  bool any_whole = false, any_straight = false;
  for (auto& layer : experts) {
    for (ExpertPlace& place : layer) {
      if (!place.places.empty()) ++experts_;
      const auto look = [&](const MatrixPlace&, const SlotRegion& region, std::size_t) {
        any_straight = any_straight || region.straight;
      };
      slot_bytes_ = std::max(slot_bytes_, each_region(place, options.mapped, look));
      for (const MatrixPlace& matrix : place.places) {
        largest_matrix_ = std::max({largest_matrix_, matrix.stored.bytes(), place.whole_bytes});
      }
      if (options.verify_reads && !place.places.empty() && (place.whole_bytes == 0 || !place.checksum)) {
        fail(where_, "has no checksum for each expert, to which reads could be held: junto pack writes them");
      }
      any_whole = any_whole || place.whole_bytes > 0;
      places_.push_back(std::move(place));
    }
  }
  if (experts_ == 0) fail(where_, "has no experts to stream");
  if (any_whole || any_straight) slot_bytes_ = on_page(slot_bytes_);
  const auto budget = static_cast<std::size_t>(std::max<std::int64_t>(0, options.budget_bytes));
  const std::size_t count = std::min(budget / slot_bytes_, static_cast<std::size_t>(experts_));
  if (count == 0) {
    fail(where_, "expert memory is " + std::to_string(budget) + " bytes, expected at least the " +
                     std::to_string(slot_bytes_) + " of one expert");
  }
  memory_ = allocate_weights(std::max(count * slot_bytes_, kLargePage));  // of which the first page is aligned
  slots_.resize(count);
  for (std::size_t s = 0; s < count; ++s) slots_[s].data = memory_.get() + s * slot_bytes_;
  const SlotTableOptions table{sizes, options.rounds, options.evict, options.known, options.prefetch, options.past};
  SlotReads& reads = *this;
  table_ = std::make_unique<SlotTable>(table, static_cast<std::int32_t>(count), reads);
  reads_ = std::make_unique<ExpertReads>(
      std::move(readers), largest_matrix_, options.mapped, options.engine,
      any_whole ? std::span(memory_.get(), count * slot_bytes_) : std::span<std::byte>(), where_,
      [this](const ExpertReads::Job& job, std::exception_ptr error) { arrived(job, std::move(error)); });
}

ExpertCache::~ExpertCache() {
  reads_.reset();
}

int ExpertCache::empty_slots() const {
  const std::lock_guard lock(mutex_);
  return table_->empty_slots();
}

void ExpertCache::add_resident(int layer, std::span<std::uint8_t> is_in) const {
  const std::lock_guard lock(mutex_);
  for (std::size_t e = 0; e < is_in.size(); ++e) {
    if (table_->is_ready(table_->cells().cell_of(layer, static_cast<std::int32_t>(e)))) is_in[e] = 1;
  }
}

void ExpertCache::count_lossy(std::int64_t preferred_slots, std::int64_t skipped_slots) {
  const std::lock_guard lock(mutex_);
  counters_.preferred_slots += preferred_slots;
  counters_.skipped_slots += skipped_slots;
}

ExpertCacheCounters ExpertCache::counters() const {
  const std::lock_guard lock(mutex_);
  ExpertCacheCounters out = counters_;
  static_cast<SlotCounters&>(out) = table_->counters();
  return out;
}

double ExpertCache::measure_disk(double seconds) {
  const std::lock_guard one_layer(run_mutex_);
  std::vector<ExpertReads::Job> all;
  for (const ExpertPlace& place : places_) {
    for (const MatrixPlace& matrix : place.places) {
      if (place.whole_bytes == 0 || &matrix == &place.places[0])
        all.push_back({&matrix, nullptr, -1, place.whole_bytes, false});
    }
  }
  return reads_->measure(all, seconds);
}

void ExpertCache::reset_counters() {
  const std::lock_guard lock(mutex_);
  counters_ = {};
  table_->reset_counters();
  began_s_ = 0;
  asks_before_counters_ = asks_.size();
}

void ExpertCache::record_asks() {
  const std::lock_guard lock(mutex_);
  records_asks_ = true;
}

std::vector<ExpertAsk> ExpertCache::asks() const {
  const std::lock_guard lock(mutex_);
  return asks_;
}

std::size_t ExpertCache::asks_before_counters() const {
  const std::lock_guard lock(mutex_);
  return asks_before_counters_;
}

std::vector<int> ExpertCache::experts_of_layers() const {
  std::vector<int> experts;
  const Eviction& cells = table_->cells();
  for (std::int32_t cell = 0; cell < cells.cells(); ++cell) {
    experts.resize(static_cast<std::size_t>(cells.layer_of(cell)) + 1);
    ++experts.back();
  }
  return experts;
}

const ExpertWeights* ExpertCache::expert(int layer, std::int32_t expert) const {
  return &slots_[static_cast<std::size_t>(table_->slot_of(table_->cells().cell_of(layer, expert)))].weights;
}

ExpertEdition ExpertCache::edition(int layer, std::int32_t expert) const {
  const std::lock_guard lock(mutex_);
  return table_->edition(table_->cells().cell_of(layer, expert));
}

// What is under way is waited for: nothing is then read to or from the place that goes.
void ExpertCache::replace(int layer, std::int32_t expert, ExpertPlace place, ExpertEdition edition) {
  const std::lock_guard one_layer(run_mutex_);
  std::unique_lock lock(mutex_);
  has_news_.wait(lock, [&] { return !table_->any_loading(); });
  const std::int32_t cell = table_->cells().cell_of(layer, expert);
  if (table_->edition(cell) == edition) return;
  bool fits = !place.places.empty() && has_weights(cell);
  const std::size_t bytes = each_region(place, options_.mapped, [&](const auto& matrix, const auto&, std::size_t) {
    fits = fits && std::max(matrix.stored.bytes(), place.whole_bytes) <= largest_matrix_;
  });
  if (!fits || bytes > slot_bytes_) {
    fail(where_, "expert " + std::to_string(expert) + " of layer " + std::to_string(layer) + " is to be replaced by " +
                     std::to_string(bytes) + " bytes, expected an expert of at most the " +
                     std::to_string(slot_bytes_) + " of a slot, with matrices of at most " +
                     std::to_string(largest_matrix_));
  }
  if (options_.verify_reads && (place.whole_bytes == 0 || !place.checksum)) {
    fail(where_, "an expert is to be replaced by one without a checksum, to which reads could be held");
  }
  table_->set_edition(cell, edition);
  places_[static_cast<std::size_t>(cell)] = std::move(place);
}

void ExpertCache::run(ExpertStage stage, std::span<const std::int32_t> experts, const Compute& compute,
                      const NextScores& next_scores, std::int64_t rows) {
  if (table_->stages().index_of(stage) < 0) return;  // no experts, no asks
  const std::lock_guard one_layer(run_mutex_);
  std::unique_lock lock(mutex_);
  if (began_s_ == 0) began_s_ = now_s();
  try {
    if (records_asks_) asks_.push_back({stage.layer, {experts.begin(), experts.end()}});
    table_->ask(stage, experts, rows);
    bool may_guess = true;
    while (!table_->done()) {
      table_->start_loads();
      if (table_->loads_started() && std::exchange(may_guess, false)) guess_later(next_scores, lock);
      std::span<const std::int32_t> ready;
      const double begin = now_s();
      has_news_.wait(lock, [&] {
        ready = table_->take_ready();
        return !ready.empty() || error_ || table_->can_start_loads();
      });
      counters_.stall_s += now_s() - begin;
      if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
      if (ready.empty()) continue;
      lock.unlock();
      compute(ready);
      lock.lock();
      table_->computed(ready);
    }
    counters_.passed_s = now_s() - began_s_;
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    settle(lock);
    throw;
  }
}

void ExpertCache::guess_later(const NextScores& next_scores, std::unique_lock<std::mutex>& lock) {
  const int target = table_->guess_target();
  if (target < 0) return;
  std::span<const float> scores;
  if (goes_by_scores(options_.prefetch) && next_scores) {
    lock.unlock();
    scores = next_scores(table_->stages().stage(target));
    lock.lock();
  }
  table_->guess(target, scores);
}

void ExpertCache::plan_pass(const NextScores& scores) {
  if (options_.prefetch.rule != Prefetch::kPath) return;
  const std::lock_guard one_layer(run_mutex_);
  const std::vector<SlotTable::Guess> plan = table_->plan_pass(scores);
  const std::lock_guard lock(mutex_);
  table_->start_plan(plan);
}

// After an error: what is being read is waited for, what failed is forgotten, and nothing is wanted any more.
void ExpertCache::settle(std::unique_lock<std::mutex>& lock) {
  has_news_.wait(lock, [&] { return !table_->any_loading(); });
  table_->forget_failures();
  error_ = nullptr;
}

bool ExpertCache::has_weights(std::int32_t cell) const {
  return !places_[static_cast<std::size_t>(cell)].places.empty();
}

int ExpertCache::load(std::int32_t index, std::int32_t cell) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  const ExpertPlace& place = places_[static_cast<std::size_t>(cell)];
  slot.error = nullptr;
  slot.weights = *place.weights;
  Linear* const linears[] = {&slot.weights.gate, &slot.weights.up, &slot.weights.down};
  std::size_t m = 3 - place.places.size();
  each_region(place, options_.mapped, [&](const MatrixPlace& matrix, const SlotRegion& region, std::size_t at) {
    std::byte* const to = slot.data + at;
    linears[m++]->weights = matrix_at(matrix.stored, to + region.skip, memory_);
    if (place.whole_bytes == 0 || at == 0) {
      jobs_.push_back({&matrix, to, index, place.whole_bytes, region.straight});
    }
  });
  return place.whole_bytes > 0 ? 1 : static_cast<int>(place.places.size());
}

void ExpertCache::submit(Priority priority) {
  reads_->submit(jobs_, priority);
  jobs_.clear();
}

void ExpertCache::hurry(std::int32_t slot) {
  reads_->hurry(slot);
}

int ExpertCache::cancel(std::int32_t slot) {
  return reads_->cancel(slot);
}

// Throws Error naming file, block and expert where the slot's bytes are not those that were packed.
void ExpertCache::verify(const ExpertReads::Job& job) const {
  const std::int32_t cell = table_->cell_in(job.slot);
  const int layer = table_->cells().layer_of(cell);
  expect_packed_checksum({job.to, job.whole_bytes}, *places_[static_cast<std::size_t>(cell)].checksum, layer,
                         cell - table_->cells().cell_of(layer, 0), where_);
}

// The checksum is taken by the thread that read, before anybody is told: nothing computes with what was not verified.
void ExpertCache::arrived(const ExpertReads::Job& job, std::exception_ptr error) {
  try {
    if (options_.verify_reads && !error) verify(job);
  } catch (...) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  Slot& slot = slots_[static_cast<std::size_t>(job.slot)];
  counters_.bytes_read += static_cast<std::int64_t>(job.whole_bytes > 0 ? job.whole_bytes : job.place->stored.bytes());
  const SlotTable::Arrival arrival = table_->part_arrived(job.slot, error != nullptr);
  if (error) slot.error = std::move(error);
  if (arrival == SlotTable::Arrival::kPart) return;
  if (arrival == SlotTable::Arrival::kFailed && !error_) error_ = std::move(slot.error);
  has_news_.notify_all();
}

}  // namespace junto
