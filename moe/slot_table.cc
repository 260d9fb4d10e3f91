#include "moe/slot_table.h"

#include <algorithm>
#include <utility>

namespace junto {
namespace {

// Guesses take at most this share of the slots, and none where slots are few: they must not send away what a layer
// needs while it computes.
constexpr std::size_t kGuessShare = 4;

double share_of(std::int64_t part, std::int64_t of) {
  return of > 0 ? static_cast<double>(part) / static_cast<double>(of) : 0;
}

}  // namespace

double SlotCounters::hit_ratio() const {
  return share_of(hits, hits + misses);
}

double SlotCounters::recall() const {
  return share_of(guessed_right, guessable);
}

double SlotCounters::precision() const {
  return share_of(guessed_right, guessed);
}

SlotTable::SlotTable(const SlotTableOptions& options, std::int32_t slots, SlotReads& reads)
    : reads_(reads),
      eviction_(options.evict, options.experts, options.known, options.rounds),
      predictor_(options.prefetch, ExpertStages(options.experts, options.rounds), options.past),
      slots_(static_cast<std::size_t>(slots)),
      slot_of_cell_(static_cast<std::size_t>(eviction_.cells()), -1),
      edition_(slot_of_cell_.size()),
      guesses_(static_cast<std::size_t>(options.prefetch.ahead)) {}

std::int32_t SlotTable::empty_slots() const {
  return static_cast<std::int32_t>(std::ranges::count(slots_, State::kEmpty, &Slot::state));
}

bool SlotTable::is_ready(std::int32_t cell) const {
  const std::int32_t slot = slot_of(cell);
  return slot >= 0 && slots_[static_cast<std::size_t>(slot)].state == State::kReady;
}

SlotTable::Slot* SlotTable::find(std::int32_t cell) {
  const std::int32_t slot = slot_of(cell);
  return slot < 0 ? nullptr : &slots_[static_cast<std::size_t>(slot)];
}

// What of a stage's experts is in a slot or on its way there, and what has to be read.
void SlotTable::ask(ExpertStage stage, std::span<const std::int32_t> experts, std::int64_t rows) {
  const int index = stages().index_of(stage);
  ++ask_;
  stage_ = stage;
  asked_ = experts.size();
  eviction_.enter(stage);
  predictor_.used(index, experts, rows);
  missing_.clear();
  waiting_.clear();
  for (const std::int32_t e : experts) {
    const std::int32_t cell = eviction_.cell_of(stage.layer, e);
    eviction_.use(stage.layer, e);
    Slot* const slot = find(cell);
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
    if (!here) reads_.hurry(slot_of(cell));
  }
  std::ranges::reverse(missing_);  // taken from the back: in the order of the file
  judge_guesses(index, experts);
}

// A guess is known to be right or wrong once its stage runs. Where another one runs in its place (after an error, or
// with callers that take turns) it is given up.
void SlotTable::judge_guesses(int stage, std::span<const std::int32_t> experts) {
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
void SlotTable::close(Guess& guess) {
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
void SlotTable::abandon(Slot& slot, std::int32_t index) {
  const int cancelled = reads_.cancel(index);
  if (cancelled == 0) return;  // all of it is under way: it is kept
  slot_of_cell_[static_cast<std::size_t>(slot.cell)] = -1;
  slot.parts_left -= cancelled;
  slot.abandoned = slot.parts_left > 0;
  if (!slot.abandoned) slot.state = State::kEmpty;
}

int SlotTable::guess_target() const {
  const std::size_t needed = (1 + guesses_.size()) * asked_;  // the stage itself and each that is guessed
  if (prefetch() == Prefetch::kNone || slots_.size() <= needed) return -1;
  if (std::ranges::find(guesses_, -1, &Guess::stage) == guesses_.end()) return -1;
  return predictor_.target(stages().index_of(stage_));
}

void SlotTable::guess(int target, std::span<const float> scores) {
  Guess& closed = *std::ranges::find(guesses_, -1, &Guess::stage);
  predictor_.predict(target, asked_, scores, closed.experts);
  if (closed.experts.empty()) return;
  closed.stage = target;
  closed.asks_left = prefetch().ahead;
  read_guess(closed);
}

std::vector<SlotTable::Guess> SlotTable::plan_pass(const Scores& scores) {
  std::vector<Guess> plan;
  if (prefetch().rule != Prefetch::kPath) return plan;
  std::size_t planned = 0;
  for (int s = 0; s < stages().count(); ++s) {
    const std::size_t count = predictor_.last_asked(s);
    if (count == 0 || (planned += count) > slots_.size()) break;
    Guess& guess = plan.emplace_back(Guess{.stage = s, .asks_left = s + 1, .experts = {}});
    predictor_.predict(s, count, scores(stages().stage(s)), guess.experts);
    if (guess.experts.empty()) return {};
  }
  return plan;
}

void SlotTable::start_plan(std::span<const Guess> plan) {
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
void SlotTable::keep(const Guess& guess) {
  const int layer = stages().stage(guess.stage).layer;
  const std::int64_t kept_to = ask_ + guess.asks_left;
  for (const std::int32_t e : guess.experts) {
    if (Slot* const slot = find(eviction_.cell_of(layer, e))) slot->kept_to = std::max(slot->kept_to, kept_to);
  }
}

// What of a guess is in no slot; what is there stays.
void SlotTable::read_guess(const Guess& guess) {
  const int layer = stages().stage(guess.stage).layer;
  const std::int64_t kept_to = ask_ + guess.asks_left;
  keep(guess);
  bool any = false;
  std::size_t left = slots_.size() / kGuessShare / guesses_.size();
  for (const std::int32_t e : guess.experts) {
    const std::int32_t cell = eviction_.cell_of(layer, e);
    if (!reads_.has_weights(cell) || find(cell)) continue;
    const std::int32_t index = left-- > 0 ? free_slot(false) : -1;
    if (index < 0) break;
    Slot& slot = load(index, cell);
    slot.wanted = false;
    slot.guessed = guess.stage;
    slot.kept_to = kept_to;
    any = true;
  }
  if (any) reads_.submit(Priority::kPrefetch);
}

void SlotTable::start_loads() {
  bool any = false;
  while (!missing_.empty()) {
    const std::int32_t slot = free_slot(true);
    if (slot < 0) break;
    load(slot, eviction_.cell_of(stage_.layer, missing_.back()));
    waiting_.push_back(missing_.back());
    missing_.pop_back();
    any = true;
  }
  if (any) reads_.submit(Priority::kDemand);
}

SlotTable::Slot& SlotTable::load(std::int32_t index, std::int32_t cell) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  slot.state = State::kLoading;
  slot.cell = cell;
  slot.wanted = true;
  slot.failed = false;
  slot.forget_guess();
  slot_of_cell_[static_cast<std::size_t>(cell)] = index;
  slot.parts_left = reads_.load(index, cell);
  return slot;
}

bool SlotTable::can_free() const {
  return std::ranges::any_of(slots_, [](const Slot& slot) {
    return slot.state == State::kEmpty || (slot.state == State::kReady && !slot.wanted);
  });
}

// An empty slot, or one whose expert goes: -1 where all are wanted. What is kept for a later stage goes last.
std::int32_t SlotTable::free_slot(bool may_take_kept) {
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

std::span<const std::int32_t> SlotTable::take_ready() {
  ready_.clear();
  for (const std::int32_t e : waiting_) {
    if (is_ready(eviction_.cell_of(stage_.layer, e))) ready_.push_back(e);
  }
  std::ranges::sort(ready_);
  return ready_;
}

void SlotTable::computed(std::span<const std::int32_t> experts) {
  for (const std::int32_t e : experts) {
    find(eviction_.cell_of(stage_.layer, e))->wanted = false;
    std::erase(waiting_, e);
  }
}

SlotTable::Arrival SlotTable::part_arrived(std::int32_t index, bool failed) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  slot.failed = slot.failed || failed;
  if (--slot.parts_left > 0) return Arrival::kPart;
  if (slot.abandoned || (slot.failed && !slot.wanted)) {  // a guess
    if (!slot.abandoned) slot_of_cell_[static_cast<std::size_t>(slot.cell)] = -1;
    slot.state = State::kEmpty;
    slot.forget_guess();
    return Arrival::kDropped;
  }
  slot.state = slot.failed ? State::kFailed : State::kReady;
  return slot.failed ? Arrival::kFailed : Arrival::kReady;
}

bool SlotTable::any_loading() const {
  return std::ranges::any_of(slots_, [](const Slot& slot) { return slot.state == State::kLoading; });
}

void SlotTable::forget_failures() {
  for (Guess& guess : guesses_) guess.stage = -1;
  for (Slot& slot : slots_) {
    slot.wanted = false;
    slot.forget_guess();  // none is loading, so none is abandoned
    if (slot.state != State::kFailed) continue;
    slot_of_cell_[static_cast<std::size_t>(slot.cell)] = -1;
    slot.state = State::kEmpty;
  }
  missing_.clear();
  waiting_.clear();
}

void SlotTable::set_edition(std::int32_t cell, ExpertEdition edition) {
  if (std::exchange(edition_[static_cast<std::size_t>(cell)], edition) == edition) return;
  Slot* const slot = find(cell);
  if (!slot) return;
  if (slot->guessed >= 0) ++counters_.wasted_prefetches;
  slot->forget_guess();
  slot->state = State::kEmpty;
  slot_of_cell_[static_cast<std::size_t>(cell)] = -1;
}

}  // namespace junto
