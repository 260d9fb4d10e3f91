// e^x and the clones of functions of rows: one source, compiled for three instruction sets, chosen once when the
// program is loaded. Loops over the lanes of kLanes partial sums have a fixed order on every one of them.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define JUNTO_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define JUNTO_CLONES
#endif

namespace junto {

/// Partial sums of a row.
inline constexpr int kRowLanes = 16;

/// e^x to 2 ulp, without branches, so that loops over it become vectors. x is clamped to where e^x is a normal number.
[[gnu::always_inline]] inline float exponential(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float power = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - power * 0.693359375f) - power * -2.12194440e-4f;
  float poly = 1.9875691500e-4f;  // Cephes, expf: r in -ln2/2..ln2/2
  poly = poly * r + 1.3981999507e-3f;
  poly = poly * r + 8.3334519073e-3f;
  poly = poly * r + 4.1665795894e-2f;
  poly = poly * r + 1.6666665459e-1f;
  poly = poly * r + 5.0000001201e-1f;
  poly = poly * r * r + r + 1.0f;
  return poly * std::bit_cast<float>((static_cast<std::int32_t>(power) + 127) << 23);
}
[[gnu::always_inline]] inline double exponential(double x) {
  return std::exp(x);
}

/// The sum over i < count of term(i), in kRowLanes partial sums.
template <class T, class Term>
[[gnu::always_inline]] inline T sum_in_lanes(std::int64_t count, const Term& term) {
  T lanes[kRowLanes] = {};
  std::int64_t i = 0;
  for (; i + kRowLanes <= count; i += kRowLanes) {
#pragma GCC ivdep
    for (int lane = 0; lane < kRowLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (; i < count; ++i) lanes[0] += term(i);
  T sum = 0;
  for (const T lane : lanes) sum += lane;
  return sum;
}

/// The largest of count > 0 values; NaN does not count where something else does.
template <class T>
[[gnu::always_inline]] inline T largest_in_lanes(const T* values, std::int64_t count) {
  T largest = values[0];
  std::int64_t i = 0;
  if (count >= kRowLanes) {
    T lanes[kRowLanes];
    for (int lane = 0; lane < kRowLanes; ++lane) lanes[lane] = values[lane];
    for (i = kRowLanes; i + kRowLanes <= count; i += kRowLanes) {
#pragma GCC ivdep
      for (int lane = 0; lane < kRowLanes; ++lane)
        lanes[lane] = lanes[lane] < values[i + lane] ? values[i + lane] : lanes[lane];
    }
    for (const T lane : lanes) largest = largest < lane ? lane : largest;
  }
  for (; i < count; ++i) largest = largest < values[i] ? values[i] : largest;
  return largest;
}

}  // namespace junto
