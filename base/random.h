// Random numbers with a state that is a value: copied, saved and restored with whatever it belongs to.
#pragma once

#include <array>
#include <cstdint>

namespace junto {

/// xoshiro256++ (Blackman and Vigna, 2019), seeded by splitmix64. The same seed gives the same numbers everywhere.
struct Random {
  std::array<std::uint64_t, 4> state{};

  Random() : Random(0) {}
  explicit Random(std::uint64_t seed) {
    for (std::uint64_t& word : state) {
      seed += 0x9e3779b97f4a7c15ull;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      word = z ^ (z >> 31);
    }
  }

  std::uint64_t next() {
    const auto rotate = [](std::uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
    const std::uint64_t result = rotate(state[0] + state[3], 23) + state[0];
    const std::uint64_t t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return result;
  }

  /// In [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  bool operator==(const Random&) const = default;
};

}  // namespace junto
