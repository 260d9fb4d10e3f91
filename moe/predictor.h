// Which experts a stage (moe/stages.h) will ask for, guessed before its router has run. A guess moves bytes early and
// decides nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "moe/past_routes.h"
#include "moe/stages.h"
#include "moe/transition_table.h"

namespace junto {

enum class Prefetch : std::uint8_t {
  kNone,           // nothing is guessed
  kPreviousToken,  // what the stage asked for last
  kPreviousLayer,  // the ids that the stage before asked for
  kNextRouter,     // what the stage's router says of the hidden state that an earlier stage reads
  kFrequency,      // what the stage asked for most, with the half life of Eviction
  kTable,          // what followed the experts that an earlier stage asked for, by all uses so far
  kPath,           // what a trained model says of the token, of all stages at once (ExpertFlow's path predictor)
  kOracle,         // what a trace of the same run says: the bound, only where the future is known
};

/// A rule, and how many stages ahead of the one that runs it guesses.
struct PrefetchRule {
  constexpr PrefetchRule(Prefetch the_rule = Prefetch::kNone, int stages_ahead = 1)
      : rule(the_rule), ahead(stages_ahead) {}
  Prefetch rule;
  int ahead;
  bool operator==(const PrefetchRule&) const = default;
};

/// All there are, in the order in which they are listed: "next-router", "next-router:2".
struct NamedPrefetch {
  std::string_view name;
  PrefetchRule rule;
};
std::span<const NamedPrefetch> all_prefetch_rules();

/// Whether the rule goes by scores that its caller has: of the model's routers, or of a predictor of paths.
constexpr bool goes_by_scores(PrefetchRule rule) {
  return rule.rule == Prefetch::kNextRouter || rule.rule == Prefetch::kPath;
}

/// Parses what an option names. Throws Error naming the option and what is allowed.
PrefetchRule parse_prefetch(std::string_view name, std::string_view option = "--prefetch");
std::string_view prefetch_name(PrefetchRule rule);

class Predictor {
 public:
  static constexpr double kHalfLife_tokens = 64;

  /// `past` has the stages that `stages` has. kTable learns from it where it is given; kOracle needs it: its first
  /// token is the first row that used() speaks of, after its last one the first comes again.
  Predictor(PrefetchRule rule, ExpertStages stages, std::shared_ptr<const PastRoutes> past = nullptr);

  PrefetchRule rule() const { return rule_; }
  const ExpertStages& stages() const { return stages_; }

  /// A stage asked for these, for that many rows.
  void used(int stage, std::span<const std::int32_t> experts, std::int64_t rows = 1);

  /// How many experts the stage asked for last.
  std::size_t last_asked(int stage) const { return last_[static_cast<std::size_t>(stage)].size(); }

  /// The stage to guess while `stage` runs; -1 where no token has as many others.
  int target(int stage) const { return rule_.ahead < stages_.count() ? stages_.after(stage, rule_.ahead) : -1; }

  /// At most `count` experts of `stage`, likeliest first, those of equal likelihood by id, in `out`; none where the
  /// rule knows nothing. `scores` [E], larger is likelier, 0: not at all; of rules that go by them, empty where there
  /// are none.
  void predict(int stage, std::size_t count, std::span<const float> scores, std::vector<std::int32_t>& out);

 private:
  void learn_transition(int stage);
  void ask_oracle(int stage);
  void mark_likely(std::span<const std::int32_t> experts);

  PrefetchRule rule_;
  ExpertStages stages_;
  std::shared_ptr<const PastRoutes> past_;       // of kOracle
  std::vector<std::vector<float>> weight_;       // [stages][E], decayed uses
  std::vector<std::vector<std::int32_t>> last_;  // [stages], of the last pass
  std::vector<std::int64_t> asked_at_;           // [stages], the ask that was the last; 0: none
  std::vector<TransitionTable> tables_;          // [stages], to the one `ahead` of it; of kTable
  std::vector<float> likely_;                    // [E] of the stage that is guessed
  std::int64_t asks_ = 0;
  int last_stage_ = -1;                    // that asked
  std::int64_t first_row_ = 0, rows_ = 0;  // of the pass that runs
};

}  // namespace junto
