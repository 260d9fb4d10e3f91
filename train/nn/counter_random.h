// Random numbers by place instead of by turn: what a unit draws depends on seed, step, layer and its own number, so a
// step repeats to the bit after a resume, and however it is cut into micro-batches.
#pragma once

#include <cmath>
#include <cstdint>

namespace junto {

/// Where in a training run something is drawn.
struct DrawPlace {
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  std::int64_t routing = 0;     // number of the routing call within a forward pass
  std::int64_t first_unit = 0;  // number of the first unit within the step
};

/// Hashes a place and two numbers by splitmix64 (Steele et al., 2014).
class CounterRandom {
 public:
  /// `purpose` keeps apart what is drawn for the same unit.
  CounterRandom(const DrawPlace& place, std::uint64_t purpose)
      : base_(mix(mix(mix(mix(place.seed) ^ static_cast<std::uint64_t>(place.step)) ^
                      static_cast<std::uint64_t>(place.routing)) ^
                  purpose)),
        first_unit_(place.first_unit) {}

  /// In (0, 1), 53 bits. `unit` counts from the place's first.
  double uniform(std::int64_t unit, std::int64_t index) const {
    const std::uint64_t row = mix(base_ ^ static_cast<std::uint64_t>(first_unit_ + unit));
    const std::uint64_t bits = mix(row ^ static_cast<std::uint64_t>(index));
    return (static_cast<double>(bits >> 11) + 0.5) * 0x1.0p-53;
  }
  /// Standard normal, by Box and Muller.
  double normal(std::int64_t unit, std::int64_t index) const {
    constexpr double kTurn = 6.283185307179586;
    return std::sqrt(-2.0 * std::log(uniform(unit, 2 * index))) * std::cos(kTurn * uniform(unit, 2 * index + 1));
  }
  /// Standard Gumbel: argmax over e of logit_e + gumbel is a draw from the softmax.
  double gumbel(std::int64_t unit, std::int64_t index) const { return -std::log(-std::log(uniform(unit, index))); }

 private:
  static std::uint64_t mix(std::uint64_t z) {
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }

  std::uint64_t base_;
  std::int64_t first_unit_;
};

}  // namespace junto
