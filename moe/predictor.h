// Which experts a layer will ask for, guessed before its router has run. A guess moves bytes early and decides nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace junto {

enum class Prefetch : std::uint8_t {
  kNone,           // nothing is guessed
  kPreviousToken,  // what the layer asked for last
  kPreviousLayer,  // the ids that the layer before asked for
  kNextRouter,     // what the layer's router says of the hidden state that the layer before it reads
  kFrequency,      // what the layer asked for most, with the half life of Eviction
};

/// Parses `--prefetch`. Throws Error naming what is allowed.
Prefetch parse_prefetch(std::string_view name);
std::string_view prefetch_name(Prefetch rule);

class Predictor {
 public:
  static constexpr double kHalfLife_tokens = 64;

  Predictor(Prefetch rule, const std::vector<int>& experts_of_layer);

  Prefetch rule() const { return rule_; }

  /// A layer asked for these.
  void used(int layer, std::span<const std::int32_t> experts);

  /// At most `count` experts of `layer`, likeliest first, those of equal likelihood by id, in `out`; none where the
  /// rule knows nothing. `scores` [E], larger is likelier, 0: not at all; of kNextRouter only, empty where there are
  /// none.
  void predict(int layer, std::size_t count, std::span<const float> scores, std::vector<std::int32_t>& out);

  /// The layer with experts after `layer`, the first one after the last.
  int layer_after(int layer) const;

 private:
  Prefetch rule_;
  std::vector<std::vector<float>> weight_;       // [layers][E], decayed uses
  std::vector<std::vector<std::int32_t>> last_;  // [layers], of the last pass
  std::vector<float> likely_;                    // [E] of the layer that is guessed
  int last_layer_ = -1;                          // that asked
};

}  // namespace junto
