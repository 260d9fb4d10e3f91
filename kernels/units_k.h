// How units of the formats with blocks of 256 values (a unit is one block of 16 rows) come into registers; offsets are
// those of interleave.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/units_32.h"

namespace junto {

/// d and dmin of a unit, as floats.
template <class L>
struct HeaderK {
  typename L::F d, dmin;
  HeaderK(const std::byte* unit, int first_row)
      : d(L::load_half(unit + 2 * first_row)), dmin(L::load_half(unit + 32 + 2 * first_row)) {}
};

/// Scale and min of group g (0..7) of Q4_K and Q5_K; see tensor/scales_k4.h for the packing of their 12 bytes.
template <class L, int g>
inline void unpack_scale_min_k4(const std::byte* scales, const HeaderK<L>& header, int first_row,
                                UnpackedGroup<L>& out) {
  const auto byte = [&](int i) { return L::load_bytes(scales + 16 * i + first_row); };
  if constexpr (g < 4) {
    out.scale[0] = L::mul(header.d, L::to_float(L::field(byte(g), 0, 63, 0)));
    out.min[0] = L::mul(header.dmin, L::to_float(L::field(byte(g + 4), 0, 63, 0)));
  } else {
    const auto low = byte(g + 4);
    out.scale[0] = L::mul(header.d, L::to_float(L::add(L::field(low, 0, 15, 0), L::field(byte(g - 4), 6, 3, 4))));
    out.min[0] = L::mul(header.dmin, L::to_float(L::add(L::field(low, 4, 15, 0), L::field(byte(g), 6, 3, 4))));
  }
}

template <class L>
struct UnitsQ4_K {
  static constexpr int kGroups = 8, kOffsetShift = -1;
  static constexpr std::size_t kBytes = 2304;
  static constexpr WeightRange kRange = WeightRange::kFourBits;
  static constexpr bool kHalves = false, kHasMin = true;
  using Header = HeaderK<L>;
  template <int g>
  static void unpack(const std::byte* unit, const Header& header, int first_row, UnpackedGroup<L>& out) {
    unpack_scale_min_k4<L, g>(unit + 64, header, first_row, out);
    unpack_nibbles<L>(unit + 256 + 256 * g, first_row, out.words);
  }
};

template <class L>
struct UnitsQ5_K {
  static constexpr int kGroups = 8, kOffsetShift = -1;
  static constexpr std::size_t kBytes = 2816;
  static constexpr WeightRange kRange = WeightRange::kFiveBits;
  static constexpr bool kHalves = false, kHasMin = true;
  using Header = HeaderK<L>;
  template <int g>
  static void unpack(const std::byte* unit, const Header& header, int first_row, UnpackedGroup<L>& out) {
    unpack_scale_min_k4<L, g>(unit + 64, header, first_row, out);
    unpack_nibbles<L>(unit + 320 + 320 * g, first_row, out.words);
    add_bits<L, 4>(unit + 256 + 320 * g, first_row, out.words);
  }
};

template <class L>
struct HeaderD {
  typename L::F d;
  HeaderD(const std::byte* unit, int first_row) : d(L::load_half(unit + 2 * first_row)) {}
};

template <class L>
struct UnitsQ6_K {
  static constexpr int kGroups = 8, kOffsetShift = 5;
  static constexpr std::size_t kBytes = 3392;
  static constexpr WeightRange kRange = WeightRange::kSixBits;
  static constexpr bool kHalves = true, kHasMin = false;
  using Header = HeaderD<L>;
  template <int g>
  static void unpack(const std::byte* unit, const Header& header, int first_row, UnpackedGroup<L>& out) {
    for (int half = 0; half < 2; ++half) {
      const auto scale = L::load_signed_bytes(unit + 32 + 16 * (2 * g + half) + first_row);
      out.scale[half] = L::mul(header.d, L::to_float(scale));
    }
    typename L::W nibbles[8];
    unpack_nibbles<L>(unit + 448 + 384 * g, first_row, nibbles);
    unpack_pairs<L, 4>(unit + 320 + 384 * g, first_row, out.words);
    for (int w = 0; w < 8; ++w) out.words[w] = L::bor(out.words[w], nibbles[w]);
  }
};

template <class L>
struct UnitsQ2_K {
  static constexpr int kGroups = 8, kOffsetShift = -1;
  static constexpr std::size_t kBytes = 1344;
  static constexpr WeightRange kRange = WeightRange::kTwoBits;
  static constexpr bool kHalves = true, kHasMin = true;
  using Header = HeaderK<L>;
  template <int g>
  static void unpack(const std::byte* unit, const Header& header, int first_row, UnpackedGroup<L>& out) {
    for (int half = 0; half < 2; ++half) {
      const auto both = L::load_bytes(unit + 64 + 16 * (2 * g + half) + first_row);
      out.scale[half] = L::mul(header.d, L::to_float(L::field(both, 0, 15, 0)));
      out.min[half] = L::mul(header.dmin, L::to_float(L::field(both, 4, 15, 0)));
    }
    unpack_pairs<L, 0>(unit + 320 + 128 * g, first_row, out.words);
  }
};

template <class L>
struct UnitsQ3_K {
  static constexpr int kGroups = 8, kOffsetShift = 2;
  static constexpr std::size_t kBytes = 1792;
  static constexpr WeightRange kRange = WeightRange::kThreeBits;
  static constexpr bool kHalves = true, kHasMin = false;
  using Header = HeaderD<L>;
  template <int g>
  static void unpack(const std::byte* unit, const Header& header, int first_row, UnpackedGroup<L>& out) {
    const auto byte = [&](int i) { return L::load_bytes(unit + 32 + 16 * i + first_row); };
    for (int half = 0; half < 2; ++half) {
      const int j = 2 * g + half;
      const auto low = L::field(byte(j % 8), j / 8 * 4, 15, 0), high = L::field(byte(8 + j % 4), j / 4 * 2, 3, 4);
      out.scale[half] = L::mul(header.d, L::add(L::to_float(L::add(low, high)), L::set(-32.0f)));
    }
    unpack_pairs<L, 0>(unit + 320 + 192 * g, first_row, out.words);
    add_bits<L, 2>(unit + 256 + 192 * g, first_row, out.words);
  }
};

template <class L>
struct UnitsIQ4_XS {
  static constexpr int kGroups = 8, kOffsetShift = -1;
  static constexpr std::size_t kBytes = 2176;
  static constexpr WeightRange kRange = WeightRange::kSigned;
  static constexpr bool kHalves = false, kHasMin = false;
  using Header = HeaderD<L>;
  template <int g>
  static void unpack(const std::byte* unit, const Header& header, int first_row, UnpackedGroup<L>& out) {
    const auto low = L::field(L::load_bytes(unit + 64 + 16 * (g / 2) + first_row), 4 * (g % 2), 15, 0);
    const auto high = L::field(L::load_u16s(unit + 32 + 2 * first_row), 2 * g, 3, 4);
    out.scale[0] = L::mul(header.d, L::add(L::to_float(L::add(low, high)), L::set(-32.0f)));
    unpack_nibbles<L>(unit + 128 + 256 * g, first_row, out.words);
    for (auto& word : out.words) word = L::from_signed(L::lookup(kIq4Values, word));
  }
};

}  // namespace junto
