#include "moe/expert_cache.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

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

// Guesses take at most this share of the slots, and none where slots are few: they must not send away what a layer
// needs while it computes.
constexpr std::size_t kGuessShare = 4;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

ExpertCache::ExpertCache(std::vector<std::vector<ExpertPlace>> experts,
                         std::vector<std::unique_ptr<BlockReader>> readers, const ExpertCacheOptions& options,
                         std::string where)
    : options_(options),
      where_(std::move(where)),
      eviction_(options.evict, sizes_of(experts), options.known, options.rounds),
      predictor_(options.prefetch, ExpertStages(sizes_of(experts), options.rounds), options.past),
      guesses_(static_cast<std::size_t>(options.prefetch.ahead)) {
  std::size_t largest_matrix = 0;
  bool any_whole = false, any_straight = false;
  for (auto& layer : experts) {
    for (ExpertPlace& place : layer) {
      if (!place.places.empty()) ++experts_;
      const auto look = [&](const MatrixPlace&, const SlotRegion& region, std::size_t) {
        any_straight = any_straight || region.straight;
      };
      slot_bytes_ = std::max(slot_bytes_, each_region(place, options.mapped, look));
      for (const MatrixPlace& matrix : place.places) {
        largest_matrix = std::max({largest_matrix, matrix.stored.bytes(), place.whole_bytes});
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
  slot_of_cell_.assign(places_.size(), -1);
  reads_ = std::make_unique<ExpertReads>(
      std::move(readers), largest_matrix, options.mapped, options.engine,
      any_whole ? std::span(memory_.get(), count * slot_bytes_) : std::span<std::byte>(), where_,
      [this](const ExpertReads::Job& job, std::exception_ptr error) { arrived(job, std::move(error)); });
}

ExpertCache::~ExpertCache() {
  reads_.reset();
}

int ExpertCache::empty_slots() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(std::ranges::count(slots_, State::kEmpty, &Slot::state));
}

void ExpertCache::add_resident(int layer, std::span<std::uint8_t> is_in) const {
  const std::lock_guard lock(mutex_);
  for (std::size_t e = 0; e < is_in.size(); ++e) {
    const std::int32_t slot =
        slot_of_cell_[static_cast<std::size_t>(eviction_.cell_of(layer, static_cast<std::int32_t>(e)))];
    if (slot >= 0 && slots_[static_cast<std::size_t>(slot)].state == State::kReady) is_in[e] = 1;
  }
}

void ExpertCache::count_lossy(std::int64_t preferred_slots, std::int64_t skipped_slots) {
  const std::lock_guard lock(mutex_);
  counters_.preferred_slots += preferred_slots;
  counters_.skipped_slots += skipped_slots;
}

ExpertCacheCounters ExpertCache::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
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
  for (std::int32_t cell = 0; cell < eviction_.cells(); ++cell) {
    experts.resize(static_cast<std::size_t>(eviction_.layer_of(cell)) + 1);
    ++experts.back();
  }
  return experts;
}

const ExpertWeights* ExpertCache::expert(int layer, std::int32_t expert) const {
  const std::int32_t slot = slot_of_cell_[static_cast<std::size_t>(eviction_.cell_of(layer, expert))];
  return &slots_[static_cast<std::size_t>(slot)].weights;
}

ExpertCache::Slot* ExpertCache::slot_of(std::int32_t cell) {
  const std::int32_t slot = slot_of_cell_[static_cast<std::size_t>(cell)];
  return slot < 0 ? nullptr : &slots_[static_cast<std::size_t>(slot)];
}

void ExpertCache::run(ExpertStage stage, std::span<const std::int32_t> experts, const Compute& compute,
                      const NextScores& next_scores, std::int64_t rows) {
  const int layer = stage.layer;
  if (predictor_.stages().index_of(stage) < 0) return;  // no experts, no asks
  const std::lock_guard one_layer(run_mutex_);
  std::unique_lock lock(mutex_);
  if (began_s_ == 0) began_s_ = now_s();
  try {
    ask(stage, experts, rows);
    // The stage itself and each that is guessed.
    const std::size_t needed = (1 + guesses_.size()) * experts.size();
    bool may_guess = options_.prefetch != Prefetch::kNone && slots_.size() > needed;
    while (!waiting_.empty() || !missing_.empty()) {
      start_loads(layer, missing_);
      if (missing_.empty() && std::exchange(may_guess, false)) {
        guess_later(predictor_.stages().index_of(stage), experts.size(), next_scores, lock);
      }
      const double begin = now_s();
      has_news_.wait(lock, [&] {
        take_ready(layer);
        return !ready_.empty() || error_ || (!missing_.empty() && can_free());
      });
      counters_.stall_s += now_s() - begin;
      if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
      if (ready_.empty()) continue;
      lock.unlock();
      compute(ready_);
      lock.lock();
      for (const std::int32_t e : ready_) {
        slot_of(eviction_.cell_of(layer, e))->wanted = false;
        std::erase(waiting_, e);
      }
    }
    counters_.passed_s = now_s() - began_s_;
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    settle(lock);
    throw;
  }
}

// What of a layer's experts is in a slot or on its way there, and what has to be read.
void ExpertCache::ask(ExpertStage stage, std::span<const std::int32_t> experts, std::int64_t rows) {
  const int layer = stage.layer, index = predictor_.stages().index_of(stage);
  ++ask_;
  if (records_asks_) asks_.push_back({layer, {experts.begin(), experts.end()}});
  eviction_.enter(stage);
  predictor_.used(index, experts, rows);
  missing_.clear();
  waiting_.clear();
  for (const std::int32_t e : experts) {
    const std::int32_t cell = eviction_.cell_of(layer, e);
    eviction_.use(layer, e);
    Slot* const slot = slot_of(cell);
    (slot ? waiting_ : missing_).push_back(e);
    if (!slot) {
      ++counters_.misses;
      continue;
    }
    slot->wanted = true;
    const bool here = slot->state == State::kReady;
    ++(here ? counters_.hits : counters_.misses);
    if (slot->guessed >= 0) ++(here ? counters_.prefetch_hits : counters_.late_prefetches);
    slot->guessed = -1;
    if (!here) reads_->hurry(slot_of_cell_[static_cast<std::size_t>(cell)]);
  }
  std::reverse(missing_.begin(), missing_.end());  // taken from the back: in the order of the file
  judge_guesses(index, experts);
}

// A guess is known to be right or wrong once its stage runs. Where another one runs in its place (after an error, or
// with callers that take turns) it is given up.
void ExpertCache::judge_guesses(int stage, std::span<const std::int32_t> experts) {
  for (Guess& guess : guesses_) {
    if (guess.stage < 0) continue;
    --guess.asks_left;
    if (guess.stage == stage) {
      counters_.guessed += std::ssize(guess.experts);
      counters_.guessable += std::ssize(experts);
      counters_.guessed_right += std::ranges::count_if(
          guess.experts, [&](std::int32_t e) { return std::ranges::find(experts, e) != experts.end(); });
    }
    if (guess.stage == stage || guess.asks_left <= 0) close(guess);
  }
}

// What is not read yet of a wrong guess is not read any more.
void ExpertCache::close(Guess& guess) {
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    Slot& slot = slots_[s];
    if (slot.guessed != guess.stage) continue;
    slot.guessed = -1;
    if (slot.wanted) continue;
    if (slot.state == State::kLoading) abandon(slot, static_cast<std::int32_t>(s));
    ++(slot.state == State::kReady ? counters_.wasted_prefetches : counters_.dropped_prefetches);
  }
  guess.stage = -1;
}

// A slot that loads what nobody wants. If nothing of it is under way it is empty at once.
void ExpertCache::abandon(Slot& slot, std::int32_t index) {
  const int cancelled = reads_->cancel(index);
  if (cancelled == 0) return;  // all of it is under way: it is kept
  slot_of_cell_[static_cast<std::size_t>(slot.cell)] = -1;
  slot.matrices_left -= cancelled;
  slot.abandoned = slot.matrices_left > 0;
  if (!slot.abandoned) slot.state = State::kEmpty;
}

void ExpertCache::guess_later(int stage, std::size_t count, const NextScores& next_scores,
                              std::unique_lock<std::mutex>& lock) {
  const int target = predictor_.target(stage);
  const auto closed = std::ranges::find(guesses_, -1, &Guess::stage);
  if (target < 0 || closed == guesses_.end()) return;
  std::span<const float> scores;
  if (goes_by_scores(options_.prefetch) && next_scores) {
    lock.unlock();
    scores = next_scores(predictor_.stages().stage(target));
    lock.lock();
  }
  predictor_.predict(target, count, scores, closed->experts);
  if (closed->experts.empty()) return;
  closed->stage = target;
  closed->asks_left = options_.prefetch.ahead;
  read_guess(*closed);
}

// Where more is predicted than there are slots, later stages keep nothing: the first ones are needed first.
void ExpertCache::plan_pass(const NextScores& scores) {
  if (options_.prefetch.rule != Prefetch::kPath) return;
  const std::lock_guard one_layer(run_mutex_);
  std::vector<Guess> plan;
  std::size_t planned = 0;
  for (int s = 0; s < predictor_.stages().count(); ++s) {
    const std::size_t count = predictor_.last_asked(s);
    if (count == 0 || (planned += count) > slots_.size()) break;
    Guess& guess = plan.emplace_back(Guess{.stage = s, .asks_left = s + 1, .experts = {}});
    predictor_.predict(s, count, scores(predictor_.stages().stage(s)), guess.experts);
    if (guess.experts.empty()) return;
  }
  const std::lock_guard lock(mutex_);
  for (const Guess& guess : plan) keep(guess);
  for (std::size_t s = 0; s < std::min(plan.size(), guesses_.size()); ++s) {
    if (slots_.size() <= (1 + guesses_.size()) * plan[s].experts.size()) break;
    const bool open = std::ranges::any_of(guesses_, [&](const Guess& one) { return one.stage == plan[s].stage; });
    const auto closed = std::ranges::find(guesses_, -1, &Guess::stage);
    if (open || closed == guesses_.end()) continue;
    *closed = plan[s];
    read_guess(*closed);
  }
}

// What of a guess is there stays until its stage has run.
void ExpertCache::keep(const Guess& guess) {
  const int layer = predictor_.stages().stage(guess.stage).layer;
  const std::int64_t kept_to = ask_ + guess.asks_left;
  for (const std::int32_t e : guess.experts) {
    if (Slot* const slot = slot_of(eviction_.cell_of(layer, e))) slot->kept_to = std::max(slot->kept_to, kept_to);
  }
}

// What of a guess is in no slot; what is there stays.
void ExpertCache::read_guess(const Guess& guess) {
  const int layer = predictor_.stages().stage(guess.stage).layer;
  const std::int64_t kept_to = ask_ + guess.asks_left;
  keep(guess);
  jobs_.clear();
  std::size_t left = slots_.size() / kGuessShare / guesses_.size();
  for (const std::int32_t e : guess.experts) {
    const std::int32_t cell = eviction_.cell_of(layer, e);
    if (places_[static_cast<std::size_t>(cell)].places.empty() || slot_of(cell)) continue;
    const std::int32_t index = left-- > 0 ? free_slot(false) : -1;
    if (index < 0) break;
    load(index, cell);
    Slot& slot = slots_[static_cast<std::size_t>(index)];
    slot.wanted = false;
    slot.guessed = guess.stage;
    slot.kept_to = kept_to;
  }
  if (!jobs_.empty()) reads_->submit(jobs_, Priority::kPrefetch);
}

// After an error: what is being read is waited for, what failed is forgotten, and nothing is wanted any more.
void ExpertCache::settle(std::unique_lock<std::mutex>& lock) {
  has_news_.wait(lock, [&] {
    return std::ranges::none_of(slots_, [](const Slot& slot) { return slot.state == State::kLoading; });
  });
  for (Guess& guess : guesses_) guess.stage = -1;
  for (Slot& slot : slots_) {
    slot.wanted = false;
    slot.forget_guess();  // none is loading, so none is abandoned
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
  jobs_.clear();
  while (!missing.empty()) {
    const std::int32_t slot = free_slot(true);
    if (slot < 0) break;
    load(slot, eviction_.cell_of(layer, missing.back()));
    waiting_.push_back(missing.back());
    missing.pop_back();
  }
  if (!jobs_.empty()) reads_->submit(jobs_, Priority::kDemand);
}

bool ExpertCache::can_free() const {
  return std::ranges::any_of(slots_, [](const Slot& slot) {
    return slot.state == State::kEmpty || (slot.state == State::kReady && !slot.wanted);
  });
}

// An empty slot, or one whose expert goes: -1 where all are wanted. What is kept for a later stage goes last.
std::int32_t ExpertCache::free_slot(bool may_take_kept) {
  for (const bool kept : {false, true}) {
    if (kept && !may_take_kept) break;
    candidates_.clear();
    for (std::size_t s = 0; s < slots_.size(); ++s) {
      if (slots_[s].state == State::kEmpty) return static_cast<std::int32_t>(s);
      if (slots_[s].state == State::kReady && !slots_[s].wanted && is_kept(slots_[s]) == kept) {
        candidates_.push_back(slots_[s].cell);
      }
    }
    if (candidates_.empty()) continue;
    const auto cell = static_cast<std::size_t>(eviction_.victim(candidates_));
    return std::exchange(slot_of_cell_[cell], -1);
  }
  return -1;
}

void ExpertCache::load(std::int32_t index, std::int32_t cell) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  const ExpertPlace& place = places_[static_cast<std::size_t>(cell)];
  slot.state = State::kLoading;
  slot.cell = cell;
  slot.wanted = true;
  slot.forget_guess();
  slot.error = nullptr;
  slot.matrices_left = place.whole_bytes > 0 ? 1 : static_cast<int>(place.places.size());
  slot_of_cell_[static_cast<std::size_t>(cell)] = index;
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
}

// Throws Error naming file, block and expert where the slot's bytes are not those that were packed.
void ExpertCache::verify(const ExpertReads::Job& job) const {
  const std::int32_t cell = slots_[static_cast<std::size_t>(job.slot)].cell;
  const int layer = eviction_.layer_of(cell);
  expect_packed_checksum({job.to, job.whole_bytes}, *places_[static_cast<std::size_t>(cell)].checksum, layer,
                         cell - eviction_.cell_of(layer, 0), where_);
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
  if (error) slot.error = std::move(error);
  if (--slot.matrices_left > 0) return;
  if (slot.abandoned || (slot.error && !slot.wanted)) {  // a guess
    if (!slot.abandoned) slot_of_cell_[static_cast<std::size_t>(slot.cell)] = -1;
    slot.state = State::kEmpty;
    slot.forget_guess();
  } else {
    slot.state = slot.error ? State::kFailed : State::kReady;
    if (slot.error && !error_) error_ = std::move(slot.error);
  }
  has_news_.notify_all();
}

}  // namespace junto
