// Which experts are in slots, which are on their way, which are guessed, and who goes: all that an expert cache
// decides, without clock, files and threads. The running cache (moe/expert_cache.h) and its simulation
// (analyze/simulate.h) share it, so that they decide alike.
//
// A stage is run as follows: ask(); until done(): start_loads(), once guess() about a later stage, then compute what
// take_ready() gives and say computed(). Whoever reads says part_arrived() meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "moe/eviction.h"
#include "moe/predictor.h"
#include "moe/read_priority.h"
#include "moe/stages.h"

namespace junto {

/// Beside layer and number what tells one expert's bytes from another's: a slot that has others is never served.
struct ExpertEdition {
  std::uint64_t version = 0;  // 0: as loaded
  int bits = 0;               // of each weight, where less than all that are stored was read; 0: all
  bool operator==(const ExpertEdition&) const = default;
};

struct SlotCounters {
  std::int64_t hits = 0;    // experts that were in a slot when their layer asked
  std::int64_t misses = 0;  // experts that were not: late prefetches and those that were read then

  std::int64_t prefetch_hits = 0;       // of the hits: read before by a guess, and nobody waited
  std::int64_t late_prefetches = 0;     // of the misses: on their way by a guess
  std::int64_t wasted_prefetches = 0;   // read by a guess for a layer that did not ask for them
  std::int64_t dropped_prefetches = 0;  // guessed wrong, and found out before they were read whole
  // Guesses of layers that then ran, in a slot or not: recall is guessed_right / guessable, precision guessed_right /
  // guessed.
  std::int64_t guessed = 0, guessed_right = 0;
  std::int64_t guessable = 0;  // experts that those layers asked for

  double hit_ratio() const;  // 0 where nothing was asked for, as of the others
  double recall() const;
  double precision() const;
  bool operator==(const SlotCounters&) const = default;
};

/// Who reads what the table decides. A cell is Eviction::cell_of(layer, expert).
class SlotReads {
 public:
  virtual ~SlotReads() = default;
  /// Whether there is anything to read of the cell's expert.
  virtual bool has_weights(std::int32_t cell) const = 0;
  /// The cell's expert is to come into the slot: in how many parts. They wait for submit().
  virtual int load(std::int32_t slot, std::int32_t cell) = 0;
  virtual void submit(Priority priority) = 0;
  /// Parts of this slot's prefetch that have not begun are read as if they were waited for.
  virtual void hurry(std::int32_t slot) = 0;
  /// Parts of this slot's prefetch that have not begun are forgotten: how many.
  virtual int cancel(std::int32_t slot) = 0;
};

struct SlotTableOptions {
  std::vector<int> experts = {};  // [layers], E of each
  std::vector<int> rounds = {};   // [layers]; empty: one each
  Evict evict = Evict::kLayer;
  Foreknowledge known = {};  // of `evict`
  PrefetchRule prefetch = {};
  std::shared_ptr<const PastRoutes> past = {};  // of Prefetch::kTable, and of kOracle, which needs it
};

class SlotTable {
 public:
  /// Scores [E] of a stage's experts, empty where nobody can tell: what goes_by_scores() rules ask for.
  using Scores = std::function<std::span<const float>(ExpertStage stage)>;
  enum class Arrival : std::uint8_t { kPart, kReady, kFailed, kDropped };

  /// What a stage was guessed to ask for.
  struct Guess {
    int stage = -1;  // -1: none is open
    int asks_left = 0;
    std::vector<std::int32_t> experts;
  };

  /// slots > 0. `reads` outlives the table, and is not called before the first ask() or plan.
  SlotTable(const SlotTableOptions& options, std::int32_t slots, SlotReads& reads);

  const Eviction& cells() const { return eviction_; }
  const ExpertStages& stages() const { return predictor_.stages(); }
  PrefetchRule prefetch() const { return predictor_.rule(); }
  std::int32_t slots() const { return static_cast<std::int32_t>(slots_.size()); }
  std::int32_t empty_slots() const;

  /// A stage wants these experts, ascending, for that many rows (what Prefetch::kOracle counts tokens by).
  void ask(ExpertStage stage, std::span<const std::int32_t> experts, std::int64_t rows);
  /// Begins what is missing, in the order of the file, as far as there are slots for it.
  void start_loads();
  bool loads_started() const { return missing_.empty(); }
  bool done() const { return waiting_.empty() && missing_.empty(); }
  /// A missing expert could be begun now.
  bool can_start_loads() const { return !missing_.empty() && can_free(); }
  /// Of the experts that are asked for and not computed yet: those that are in slots, ascending. Valid until the next
  /// call.
  std::span<const std::int32_t> take_ready();
  void computed(std::span<const std::int32_t> experts);

  /// Once a stage's loads have started: the later stage to guess, -1 where none is to be.
  int guess_target() const;
  /// What of the guessed stage is in no slot is begun, as prefetches. `scores`: where the rule goes by them.
  void guess(int target, std::span<const float> scores);

  /// Before the first stage of a pass, with Prefetch::kPath (nothing otherwise): what all stages of the pass are to ask
  /// for. Changes nothing. What exceeds the slots is left out: the first stages are needed first.
  std::vector<Guess> plan_pass(const Scores& scores);
  /// What is planned and in a slot stays until its stage has run; what the first stages (as many as the rule guesses
  /// ahead) lack is begun.
  void start_plan(std::span<const Guess> plan);

  /// One part of a slot's expert has come, or could not be read.
  Arrival part_arrived(std::int32_t slot, bool failed);

  std::int32_t slot_of(std::int32_t cell) const { return slot_of_cell_[static_cast<std::size_t>(cell)]; }
  std::int32_t cell_in(std::int32_t slot) const { return slots_[static_cast<std::size_t>(slot)].cell; }
  bool is_ready(std::int32_t cell) const;
  bool any_loading() const;
  /// After an error, when nothing is loading: what failed is forgotten, and nothing is wanted or guessed any more.
  void forget_failures();

  /// From now on the cell stands for this edition of its expert; a slot that has another one is empty then. Nothing is
  /// loading.
  void set_edition(std::int32_t cell, ExpertEdition edition);
  ExpertEdition edition(std::int32_t cell) const { return edition_[static_cast<std::size_t>(cell)]; }

  const SlotCounters& counters() const { return counters_; }
  void reset_counters() { counters_ = {}; }

 private:
  enum class State : std::uint8_t { kEmpty, kLoading, kReady, kFailed };
  struct Slot {
    State state = State::kEmpty;
    std::int32_t cell = -1;
    bool wanted = false;       // by the stage that runs
    int guessed = -1;          // read for a stage that has not run yet
    std::int64_t kept_to = 0;  // guessed or there already: stays until that ask
    bool abandoned = false;    // nobody's any more: empty when its reads have come
    bool failed = false;       // some part could not be read
    int parts_left = 0;        // while loading

    /// Nothing is guessed of it any more.
    void forget_guess() { guessed = -1, kept_to = 0, abandoned = false; }
  };

  void judge_guesses(int stage, std::span<const std::int32_t> experts);
  void close(Guess& guess);
  void abandon(Slot& slot, std::int32_t index);
  void keep(const Guess& guess);
  void read_guess(const Guess& guess);
  bool is_kept(const Slot& slot) const { return slot.kept_to > ask_; }
  bool can_free() const;
  std::int32_t free_slot(bool may_take_kept);
  Slot& load(std::int32_t index, std::int32_t cell);
  Slot* find(std::int32_t cell);

  SlotReads& reads_;
  Eviction eviction_;
  Predictor predictor_;
  std::vector<Slot> slots_;
  std::vector<std::int32_t> slot_of_cell_;  // -1: none
  std::vector<ExpertEdition> edition_;      // by cell
  std::vector<Guess> guesses_;              // as many as can be open: the stages ahead
  SlotCounters counters_;
  std::int64_t ask_ = 0;  // the number of the one that runs
  ExpertStage stage_;     // that asked last
  std::size_t asked_ = 0;
  std::vector<std::int32_t> missing_, waiting_, ready_, candidates_;  // of that stage
};

}  // namespace junto
