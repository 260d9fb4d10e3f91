// How units of the formats with blocks of 32 values come into registers; offsets are those of interleave.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_tile.h"
#include "tensor/iq4_grid.h"

namespace junto {

/// Words of nibbles: register r holds word r in the low and word r + 4 in the high nibbles.
template <class L>
inline void unpack_nibbles(const std::byte* quants, int first_row, typename L::W* words) {
  const auto mask = L::bits(15);
  for (int r = 0; r < 4; ++r) {
    const auto both = L::load_words(quants + 64 * r + 4 * first_row);
    words[r] = L::band(both, mask);
    words[r + 4] = L::band(L::shift_right(both, 4), mask);
  }
}

/// Shifted left by `bits`, or right where that is negative; bits that cross bytes must be masked afterwards.
template <class L>
inline typename L::W shifted(typename L::W words, int bits) {
  return bits > 0 ? L::shift_left(words, bits) : bits < 0 ? L::shift_right(words, -bits) : words;
}

/// Puts bits at place kTo of words that have none there: bit w of a byte of `bits` belongs to word w.
template <class L, int kTo>
inline void add_bits(const std::byte* bits, int first_row, typename L::W* words) {
  const auto all = L::load_words(bits + 4 * first_row), mask = L::bits(1 << kTo);
#pragma GCC unroll 8
  for (int w = 0; w < 8; ++w) words[w] = L::bor(words[w], L::band(shifted<L>(all, kTo - w), mask));
}

/// Pairs of bits at place kTo: word w has them in register w % 2, from bit 2 (w / 2) on.
template <class L, int kTo>
inline void unpack_pairs(const std::byte* pairs, int first_row, typename L::W* words) {
  const auto mask = L::bits(3 << kTo);
  const typename L::W all[2] = {L::load_words(pairs + 4 * first_row), L::load_words(pairs + 64 + 4 * first_row)};
#pragma GCC unroll 8
  for (int w = 0; w < 8; ++w) words[w] = L::band(shifted<L>(all[w % 2], kTo - 2 * (w / 2)), mask);
}

struct NoHeader {
  NoHeader(const std::byte*, int) {}
};

template <class L>
struct UnitsQ4_0 {
  static constexpr int kGroups = 2, kOffsetShift = 3;
  static constexpr std::size_t kBytes = 576;
  static constexpr WeightRange kRange = WeightRange::kFourBits;
  static constexpr bool kHalves = false, kHasMin = false;
  using Header = NoHeader;
  template <int g>
  static void unpack(const std::byte* unit, const Header&, int first_row, UnpackedGroup<L>& out) {
    out.scale[0] = L::load_half(unit + 32 * g + 2 * first_row);
    unpack_nibbles<L>(unit + 64 + 256 * g, first_row, out.words);
  }
};

template <class L>
struct UnitsQ4_1 {
  static constexpr int kGroups = 1, kOffsetShift = -1;
  static constexpr std::size_t kBytes = 320;
  static constexpr WeightRange kRange = WeightRange::kFourBits;
  static constexpr bool kHalves = false, kHasMin = true;
  using Header = NoHeader;
  template <int g>
  static void unpack(const std::byte* unit, const Header&, int first_row, UnpackedGroup<L>& out) {
    out.scale[0] = L::load_half(unit + 2 * first_row);
    out.min[0] = L::mul(L::load_half(unit + 32 + 2 * first_row), L::set(-1.0f));
    unpack_nibbles<L>(unit + 64, first_row, out.words);
  }
};

template <class L>
struct UnitsQ5_0 {
  static constexpr int kGroups = 2, kOffsetShift = 4;
  static constexpr std::size_t kBytes = 704;
  static constexpr WeightRange kRange = WeightRange::kFiveBits;
  static constexpr bool kHalves = false, kHasMin = false;
  using Header = NoHeader;
  template <int g>
  static void unpack(const std::byte* unit, const Header&, int first_row, UnpackedGroup<L>& out) {
    out.scale[0] = L::load_half(unit + 32 * g + 2 * first_row);
    unpack_nibbles<L>(unit + 128 + 320 * g, first_row, out.words);
    add_bits<L, 4>(unit + 64 + 320 * g, first_row, out.words);
  }
};

template <class L>
struct UnitsQ5_1 {
  static constexpr int kGroups = 1, kOffsetShift = -1;
  static constexpr std::size_t kBytes = 384;
  static constexpr WeightRange kRange = WeightRange::kFiveBits;
  static constexpr bool kHalves = false, kHasMin = true;
  using Header = NoHeader;
  template <int g>
  static void unpack(const std::byte* unit, const Header&, int first_row, UnpackedGroup<L>& out) {
    out.scale[0] = L::load_half(unit + 2 * first_row);
    out.min[0] = L::mul(L::load_half(unit + 32 + 2 * first_row), L::set(-1.0f));
    unpack_nibbles<L>(unit + 128, first_row, out.words);
    add_bits<L, 4>(unit + 64, first_row, out.words);
  }
};

template <class L>
struct UnitsQ8_0 {
  static constexpr int kGroups = 2, kOffsetShift = -1;
  static constexpr std::size_t kBytes = 1088;
  static constexpr WeightRange kRange = WeightRange::kSigned;
  static constexpr bool kHalves = false, kHasMin = false;
  using Header = NoHeader;
  template <int g>
  static void unpack(const std::byte* unit, const Header&, int first_row, UnpackedGroup<L>& out) {
    out.scale[0] = L::load_half(unit + 32 * g + 2 * first_row);
    for (int w = 0; w < 8; ++w) {
      out.words[w] = L::from_signed(L::load_words(unit + 64 + 512 * g + 64 * w + 4 * first_row));
    }
  }
};

template <class L>
struct UnitsIQ4_NL {
  static constexpr int kGroups = 2, kOffsetShift = -1;
  static constexpr std::size_t kBytes = 576;
  static constexpr WeightRange kRange = WeightRange::kSigned;
  static constexpr bool kHalves = false, kHasMin = false;
  using Header = NoHeader;
  template <int g>
  static void unpack(const std::byte* unit, const Header&, int first_row, UnpackedGroup<L>& out) {
    out.scale[0] = L::load_half(unit + 32 * g + 2 * first_row);
    unpack_nibbles<L>(unit + 64 + 256 * g, first_row, out.words);
    for (auto& word : out.words) word = L::from_signed(L::lookup(kIq4Values, word));
  }
};

// The points of MXFP4 (twice the E2M1 numbers) plus 16, so that they are unsigned.
inline constexpr std::int8_t kMxfp4Shifted[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};

template <class L>
struct UnitsMXFP4 {
  static constexpr int kGroups = 4, kOffsetShift = 4;
  static constexpr std::size_t kBytes = 1088;
  static constexpr WeightRange kRange = WeightRange::kFiveBits;
  static constexpr bool kHalves = false, kHasMin = false;
  using Header = NoHeader;
  template <int g>
  static void unpack(const std::byte* unit, const Header&, int first_row, UnpackedGroup<L>& out) {
    out.scale[0] = L::load_e8m0_half(unit + 16 * g + first_row);
    unpack_nibbles<L>(unit + 64 + 256 * g, first_row, out.words);
    for (auto& word : out.words) word = L::lookup(kMxfp4Shifted, word);
  }
};

// Plain weights: one value of each row.
template <class L>
struct LoadF32 {
  static constexpr std::size_t kBytes = 4;
  static typename L::F load(const std::byte* p) { return L::load(reinterpret_cast<const float*>(p)); }
};

template <class L>
struct LoadF16 {
  static constexpr std::size_t kBytes = 2;
  static typename L::F load(const std::byte* p) { return L::load_half(p); }
};

template <class L>
struct LoadBF16 {
  static constexpr std::size_t kBytes = 2;
  static typename L::F load(const std::byte* p) { return L::load_bf16(p); }
};

}  // namespace junto
