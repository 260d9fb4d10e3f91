// Experts that do not all fit into memory: they stand in a file, and as many as the budget holds in slots. A layer asks
// for the experts that its rows chose; those in slots compute at once, the others as they arrive.
//
// Lossless: an expert in a slot has the bytes that a resident one has, so results are the same bits at any budget and
// under any eviction policy.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "moe/eviction.h"
#include "moe/expert_reads.h"
#include "moe/expert_store.h"
#include "moe/predictor.h"
#include "moe/slot_table.h"

namespace junto {

struct ExpertCacheOptions {
  std::int64_t budget_bytes = 0;  // of slots
  Evict evict = Evict::kLayer;
  Foreknowledge known = {};  // of `evict`
  ReadEngine engine = ReadEngine::kAuto;
  PrefetchRule prefetch = {};
  std::shared_ptr<const PastRoutes> past = {};  // of Prefetch::kTable, and of kOracle, which needs it
  std::vector<int> rounds = {};                 // [layers]; empty: one each
  /// Experts are held to their checksums whenever they are read; each must have one.
  bool verify_reads = false;
  /// The experts' bytes are mapped: they are copied from there when they are first asked for instead of read from
  /// files, so that a model starts before all of it is in the kernels' layout.
  bool mapped = false;
};

/// What streaming has cost since the start.
struct ExpertCacheCounters : SlotCounters {
  std::int64_t bytes_read = 0;  // from the file
  double stall_s = 0;           // with nothing to compute, waiting for the file
  double passed_s = 0;          // from the first layer's begin to the last one's end

  std::int64_t preferred_slots = 0;  // of policies with prefer_resident: that went to an expert in memory instead
  std::int64_t skipped_slots = 0;    // of policies with skip_late: left out

  bool operator==(const ExpertCacheCounters&) const = default;
};

/// What one layer asked for.
struct ExpertAsk {
  int layer = 0;
  std::vector<std::int32_t> experts;  // ascending
};

/// An expert outside of memory. `weights` are what they are but for the bytes of the matrices, which `places` name
/// (gate where there is one, up, down).
struct ExpertPlace {
  const ExpertWeights* weights = nullptr;
  std::vector<MatrixPlace> places;
  std::size_t whole_bytes =
      0;  // read at once from the first place, as it will lie in the slot: whole pages; 0: by matrix
  std::optional<std::uint32_t> checksum = {};  // CRC-32C of the whole_bytes
};

class ExpertCache : private SlotReads {
 public:
  using Compute = std::function<void(std::span<const std::int32_t> experts)>;
  /// What Prefetch::kNextRouter and kPath go by: scores [E] of a later stage's experts, empty where they cannot tell.
  using NextScores = SlotTable::Scores;

  /// experts [layers][E]; those without matrices have no places and are never asked for. Throws Error naming `where`
  /// where the budget does not hold one expert, and where reads are to be verified but an expert has no checksum.
  ExpertCache(std::vector<std::vector<ExpertPlace>> experts, std::vector<std::unique_ptr<BlockReader>> readers,
              const ExpertCacheOptions& options, std::string where);
  ~ExpertCache() override;

  /// Calls compute(some of `experts`) until all were computed, each once; during a call expert() gives those it names.
  /// `experts` ascending. One layer at a time: other callers wait. Throws what reading threw; the cache stays usable.
  /// Once its reads have begun, experts that a later stage is likely to ask for are read after them: next_scores is
  /// called where the rule goes by scores. What a guess cannot read is read again, and is an error, when it is asked
  /// for. `rows` chose the experts: what Prefetch::kOracle counts tokens by.
  void run(ExpertStage stage, std::span<const std::int32_t> experts, const Compute& compute,
           const NextScores& next_scores = nullptr, std::int64_t rows = 1);

  /// Before the first stage of a pass, with Prefetch::kPath (nothing otherwise): all stages of the pass are predicted.
  /// What they will ask for and is in a slot stays until its stage has run; what the first stages (as many as the rule
  /// guesses ahead) lack is read. ExpertFlow's plan (arXiv 2410.17954), whose corrections are those of any guess: a
  /// wrong one is dropped when its stage has spoken, a missing expert is read before all guesses.
  void plan_pass(const NextScores& scores);

  /// From now on the expert is what stands at `place`, in a file of the readers that the cache was given. It is read
  /// when it is asked for next, and what a slot has of another edition is served no more; with the present edition
  /// nothing changes. Waits for the layer that runs and for reads under way. Throws Error where the expert has nothing
  /// to read, or `place` takes more memory than a slot or another type of reads than those that the cache began with.
  void replace(int layer, std::int32_t expert, ExpertPlace place, ExpertEdition edition);
  ExpertEdition edition(int layer, std::int32_t expert) const;

  /// An expert that compute() was called with, until it returns.
  const ExpertWeights* expert(int layer, std::int32_t expert) const;

  /// Sets is_in [E] to 1 for the experts that are in memory now, and leaves the others.
  void add_resident(int layer, std::span<std::uint8_t> is_in) const;
  /// Adds to the counters what a policy of streamed experts changed.
  void count_lossy(std::int64_t preferred_slots, std::int64_t skipped_slots);

  int slots() const { return table_->slots(); }
  int empty_slots() const;
  std::size_t slot_bytes() const { return slot_bytes_; }
  int experts() const { return experts_; }
  Evict evict() const { return options_.evict; }
  std::string_view engine() const { return reads_->engine(); }  // "io_uring", "threads"
  bool verifies_reads() const { return options_.verify_reads; }
  bool mapped() const { return options_.mapped; }
  PrefetchRule prefetch() const { return options_.prefetch; }
  ExpertCacheCounters counters() const;
  /// Bytes per second of direct reads of experts at random offsets, as many at once as when they are streamed: what
  /// the disk gives now. Other callers wait for about `seconds`.
  double measure_disk(double seconds);
  void reset_counters();

  /// From now on what layers ask for is kept, for a comparison with what could have been: call it before the first.
  void record_asks();
  std::vector<ExpertAsk> asks() const;
  /// How many of the asks came before the counters began.
  std::size_t asks_before_counters() const;
  std::vector<int> experts_of_layers() const;

 private:
  struct Slot {
    std::exception_ptr error;  // some matrix could not be read
    ExpertWeights weights;     // points into the slot's memory
    std::byte* data = nullptr;
  };

  bool has_weights(std::int32_t cell) const override;
  int load(std::int32_t slot, std::int32_t cell) override;
  void submit(Priority priority) override;
  void hurry(std::int32_t slot) override;
  int cancel(std::int32_t slot) override;

  void guess_later(const NextScores& next_scores, std::unique_lock<std::mutex>& lock);
  void settle(std::unique_lock<std::mutex>& lock);
  void verify(const ExpertReads::Job& job) const;
  void arrived(const ExpertReads::Job& job, std::exception_ptr error);

  ExpertCacheOptions options_;
  std::string where_;
  std::vector<ExpertPlace> places_;  // by cell
  double began_s_ = 0;               // first run() since the counters began; 0: none
  int experts_ = 0;
  std::size_t slot_bytes_ = 0;
  std::size_t largest_matrix_ = 0;  // that reads have memory for
  std::shared_ptr<std::byte> memory_;
  std::vector<Slot> slots_;

  std::mutex run_mutex_;      // one layer at a time
  mutable std::mutex mutex_;  // the table, counters
  std::condition_variable has_news_;
  std::unique_ptr<SlotTable> table_;
  std::exception_ptr error_;
  ExpertCacheCounters counters_;  // without the table's
  bool records_asks_ = false;
  std::vector<ExpertAsk> asks_;
  std::size_t asks_before_counters_ = 0;
  std::vector<ExpertReads::Job> jobs_;  // of the experts that are loaded together
  std::unique_ptr<ExpertReads> reads_;  // ends first: its threads call arrived()
};

}  // namespace junto
