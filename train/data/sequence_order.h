// In what order training reads its text: sequences that begin anywhere, or passes over the same sequences, each pass in
// an order of its own, which may follow from what the pass before found out about them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/random.h"

namespace junto {

struct SequenceOrder {
  enum class Kind : std::uint8_t {
    kDrawn,           // every step draws sequences that begin anywhere; there are no passes
    kShuffled,        // each pass in an order drawn by seed and pass
    kSimilarRouting,  // the first pass shuffled, later ones by order_by_similar_routing()
    kFewestExperts,   // the same by order_by_experts()
  } kind = Kind::kDrawn;
  std::int64_t pass_sequences = 0;  // of a pass; 0: all that the text has, as far as they fill whole batches

  bool has_passes() const { return kind != Kind::kDrawn; }
  /// Whether an order follows from the statistics of the pass before.
  bool asks_statistics() const { return kind != Kind::kDrawn && kind != Kind::kShuffled; }
  bool operator==(const SequenceOrder&) const = default;
};

/// What a finished pass says of its sequences, by their numbers in it.
struct PassStatistics {
  std::int64_t sequences = 0, routings = 0;
  std::span<const float> several;  // [sequences, routings]: tokens that asked for several experts

  std::span<const float> of(std::int64_t sequence) const {
    return several.subspan(static_cast<std::size_t>(sequence * routings), static_cast<std::size_t>(routings));
  }
};

/// 0 .. count - 1 in an order drawn by `random`.
std::vector<std::int64_t> shuffled_numbers(std::int64_t count, Random random);

/// The curriculum of adaptive gating (Li et al., arXiv 2310.07188): first the sequence with the fewest tokens of
/// several experts, then the others by the cosine of their counts by routing with its counts, most alike first. Where
/// that sequence has no such token, cosines mean nothing: order_by_experts(). Of equal ones that with fewer tokens of
/// several experts is first, then the lower number.
std::vector<std::int64_t> order_by_similar_routing(const PassStatistics& statistics);

/// By the number of tokens of several experts, all routings together, fewest first; of equal ones the lower number.
std::vector<std::int64_t> order_by_experts(const PassStatistics& statistics);

/// Where a run stands in its passes.
class SequencePasses {
 public:
  /// Of batches of `batch` sequences from a text of `spans` spans. Throws Error naming the recipe's field where the
  /// text has too few. `routings` of the model, for orders that ask.
  SequencePasses(const SequenceOrder& order, std::int64_t batch, std::int64_t spans, std::int64_t routings,
                 std::uint64_t seed);

  /// Spans of the text that step number `step` reads, from 0. Steps are asked for in turn, or again.
  std::vector<std::int64_t> spans_of_step(std::int64_t step);
  /// What the sequences of `step` did: [batch, routings], float32, tokens that asked for several experts.
  void note(std::int64_t step, const at::Tensor& several);

  const SequenceOrder& rule() const { return rule_; }
  std::int64_t sequences() const { return sequences_; }
  std::int64_t routings() const { return routings_; }
  /// What a checkpoint must keep, by name; all else follows from seed and step. float32, which holds the numbers of
  /// sequences: they are below 2^24.
  std::vector<std::pair<std::string, at::Tensor>> state() const;
  /// After state() was restored from a checkpoint made after `step` steps.
  void go_on(std::int64_t step);

 private:
  void begin_pass(std::int64_t pass);
  std::int64_t steps_of_pass() const { return sequences_ / batch_; }

  SequenceOrder rule_;
  std::int64_t batch_ = 0, sequences_ = 0, routings_ = 0;
  std::uint64_t seed_ = 0;
  std::vector<std::int64_t> spans_;  // [sequences]: span of each sequence of a pass
  at::Tensor order_;                 // [sequences]: numbers, as the pass that is under way reads them
  at::Tensor several_;               // [sequences, routings]: the newest counts
  std::int64_t pass_ = -1;           // that `order_` is of
};

/// {"kind": "similar_routing", "pass_sequences": 400}. Throws Error naming `where`, field and what is allowed; `batch`
/// is the number of sequences of a step.
SequenceOrder parse_sequence_order(const Json& json, std::int64_t batch, std::string_view where);

}  // namespace junto
