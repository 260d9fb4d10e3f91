// Tile lanes: the operations of the matrix kernels, on one register of interleaved weights. A register holds a word
// (four columns, one byte each) of kRows rows. One page for each instruction set has the same operations and gives the
// same bits; this one is plain C++, the exact twin that tests hold the others against.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/matmul_kernels.h"
#include "tensor/half.h"

namespace junto {

struct TilePortable {
  static constexpr int kRows = 16;
  static constexpr int kMaxTile = 3;
  static constexpr int kMaxFloatTile = 3;
  static constexpr int kSignedOffset = 0;  // what from_signed() adds
  struct W {
    std::uint8_t byte[4 * kRows];
  };
  struct I {
    std::int32_t lane[kRows];
  };
  struct F {
    float lane[kRows];
  };

  static W load_words(const std::byte* p) {
    W out;
    std::memcpy(out.byte, p, sizeof out.byte);
    return out;
  }
  static void prefetch(const std::byte*) {}
  template <class Op>
  static W each_byte(Op op) {
    W out;
    for (int i = 0; i < 4 * kRows; ++i) out.byte[i] = static_cast<std::uint8_t>(op(i));
    return out;
  }
  template <class Op>
  static F each(Op op) {
    F out;
    for (int l = 0; l < kRows; ++l) out.lane[l] = op(l);
    return out;
  }
  static W bits(std::uint8_t mask) {
    return each_byte([&](int) { return mask; });
  }
  static W band(W a, W b) {
    return each_byte([&](int i) { return a.byte[i] & b.byte[i]; });
  }
  static W bor(W a, W b) {
    return each_byte([&](int i) { return a.byte[i] | b.byte[i]; });
  }
  /// Shifts within pairs of bytes: mask afterwards what crosses over.
  static W shift_right(W a, int n) {
    return each_byte([&](int i) { return (a.byte[i] | (i % 2 == 0 ? a.byte[i + 1] << 8 : 0)) >> n; });
  }
  static W shift_left(W a, int n) {
    return each_byte([&](int i) { return a.byte[i] << n | (i % 2 == 1 ? a.byte[i - 1] << n >> 8 : 0); });
  }
  /// table[index] of 16 signed bytes, index 0..15.
  static W lookup(const std::int8_t* table, W index) {
    return each_byte([&](int i) { return static_cast<std::uint8_t>(table[index.byte[i]]); });
  }
  /// Signed bytes in the form that dot() with WeightRange::kSigned takes.
  static W from_signed(W a) { return a; }

  /// start + sum over the words of weight * x, for each row: exact.
  template <WeightRange kRange, int kWords>
  static I dot(const W* words, const std::int8_t* x, I start) {
    for (int word = 0; word < kWords; ++word) {
      for (int i = 0; i < 4 * kRows; ++i) {
        const int weight =
            kRange == WeightRange::kSigned ? static_cast<std::int8_t>(words[word].byte[i]) : words[word].byte[i];
        start.lane[i / 4] += weight * x[4 * word + i % 4];
      }
    }
    return start;
  }
  /// value * 2^shift in every row.
  static I shifted(std::int32_t value, int shift) {
    I out;
    for (std::int32_t& lane : out.lane) lane = static_cast<std::int32_t>(static_cast<std::uint32_t>(value) << shift);
    return out;
  }

  static F zero() { return set(0); }
  static F set(float value) {
    return each([&](int) { return value; });
  }
  static F load(const float* p) {
    return each([&](int l) { return p[l]; });
  }
  static void store(float* p, F a) { std::memcpy(p, a.lane, sizeof a.lane); }
  static F to_float(I a) {
    return each([&](int l) { return static_cast<float>(a.lane[l]); });
  }
  static F mul(F a, F b) {
    return each([&](int l) { return a.lane[l] * b.lane[l]; });
  }
  static F add(F a, F b) {
    return each([&](int l) { return a.lane[l] + b.lane[l]; });
  }
  static F fma(F a, F b, F c) {
    return each([&](int l) { return std::fma(a.lane[l], b.lane[l], c.lane[l]); });
  }

  // One number for each row.
  static F load_half(const std::byte* p) {
    return each([&](int l) { return half_to_float(load_u16(p, l)); });
  }
  static F load_bf16(const std::byte* p) {
    return each([&](int l) { return bf16_to_float(load_u16(p, l)); });
  }
  /// 2^(e - 128), as MXFP4 has it.
  static F load_e8m0_half(const std::byte* p) {
    return each([&](int l) {
      const auto e = static_cast<std::uint32_t>(p[l]);
      return std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    });
  }
  /// Small integers of one byte for each row, to be taken apart: scales and mins of K-quants.
  static I load_bytes(const std::byte* p) {
    I out;
    for (int l = 0; l < kRows; ++l) out.lane[l] = static_cast<std::uint8_t>(p[l]);
    return out;
  }
  static I load_signed_bytes(const std::byte* p) {
    I out;
    for (int l = 0; l < kRows; ++l) out.lane[l] = static_cast<std::int8_t>(p[l]);
    return out;
  }
  static I load_u16s(const std::byte* p) {
    I out;
    for (int l = 0; l < kRows; ++l) out.lane[l] = load_u16(p, l);
    return out;
  }
  /// (a >> shift & mask) << left.
  static I field(I a, int shift, std::int32_t mask, int left) {
    for (std::int32_t& lane : a.lane) lane = (lane >> shift & mask) << left;
    return a;
  }
  static I add(I a, I b) {
    for (int l = 0; l < kRows; ++l) a.lane[l] += b.lane[l];
    return a;
  }

 private:
  static std::uint16_t load_u16(const std::byte* p, int l) {
    std::uint16_t value;
    std::memcpy(&value, p + 2 * l, sizeof value);
    return value;
  }
};

}  // namespace junto
