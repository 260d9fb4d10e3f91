// How stored rows become interleaved units (layout: interleave.h), for interleave*.cc only. Everything is a member of a
// template over a tag, so that the copies compiled for different instruction sets share no code; vectors are GCC's and
// Clang's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/interleave_layouts.h"

namespace junto {

/// interleave_units() of one layout.
using InterleaveUnits = void (*)(const std::byte* const* rows, std::int64_t blocks, std::int64_t first,
                                 std::int64_t count, std::byte* out);

/// One for each row of kLayouts.
struct InterleaveTable {
  InterleaveUnits units[kLayoutCount];
};

template <class Tag>
struct InterleaveSteps {
  static constexpr std::size_t kRows = kInterleavedRows, kLine = 64;

  using Bytes = std::uint8_t __attribute__((vector_size(16)));
  using Halves = std::uint16_t __attribute__((vector_size(16)));
  using Words = std::uint32_t __attribute__((vector_size(16)));
  using EightWords = std::uint32_t __attribute__((vector_size(32)));

  template <class T>
  static T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }
  template <class T>
  static void store(std::byte* to, const T& value) {
    std::memcpy(to, &value, sizeof value);
  }

  /// Run of a piece in an interleaved unit: 32 values in `bits` words.
  static constexpr std::size_t unit_run(std::size_t bits) { return 4 * bits; }

  /// Calls visit(field, block in the unit, offset in the unit) for the small fields; returns where the words begin.
  template <class Visit>
  [[gnu::always_inline]] static constexpr std::size_t each_field(const UnitLayout& layout, Visit visit) {
    std::size_t at = 0;
    for (const SmallField& field : layout.fields) {
      for (std::int64_t block = 0; block < layout.blocks; ++block) {
        visit(field, block, at);
        at += field.element_bytes * field.count * kRows;
      }
    }
    return (at + kLine - 1) / kLine * kLine;
  }

  /// Calls visit(piece, offset of group 0 in the unit, bytes from group to group).
  template <class Visit>
  [[gnu::always_inline]] static constexpr void each_piece(const UnitLayout& layout, Visit visit) {
    std::size_t at = each_field(layout, [](const SmallField&, std::int64_t, std::size_t) {}), stride = 0;
    for (const QuantPiece& piece : layout.pieces) stride += piece.bits * kLine;
    for (const QuantPiece& piece : layout.pieces) {
      visit(piece, at, stride);
      at += piece.bits * kLine;
    }
  }

  /// `count` words of all rows to [word][16 rows], four at a time as 4 x 4 transpositions.
  static void transpose_words(const std::byte* const* rows, std::size_t count, std::byte* out) {
    std::size_t e = 0;
    for (; e + 4 <= count; e += 4, out += 4 * kLine) {
      for (std::size_t r = 0; r < kRows; r += 4) {
        Words in[4];
        for (std::size_t i = 0; i < 4; ++i) in[i] = load<Words>(rows[r + i] + 4 * e);
        const Words a = __builtin_shufflevector(in[0], in[1], 0, 4, 1, 5);
        const Words b = __builtin_shufflevector(in[0], in[1], 2, 6, 3, 7);
        const Words c = __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5);
        const Words d = __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7);
        store(out + 4 * r, __builtin_shufflevector(a, c, 0, 1, 4, 5));
        store(out + kLine + 4 * r, __builtin_shufflevector(a, c, 2, 3, 6, 7));
        store(out + 2 * kLine + 4 * r, __builtin_shufflevector(b, d, 0, 1, 4, 5));
        store(out + 3 * kLine + 4 * r, __builtin_shufflevector(b, d, 2, 3, 6, 7));
      }
    }
    for (; e < count; ++e) {
      for (std::size_t r = 0; r < kRows; ++r, out += 4) std::memcpy(out, rows[r] + 4 * e, 4);
    }
  }

  /// `count` numbers of 2 bytes of all rows to [number][16 rows], eight at a time: three rounds of merging neighbours.
  static void transpose_halves(const std::byte* const* rows, std::size_t count, std::byte* out) {
    std::size_t e = 0;
    for (; e + 8 <= count; e += 8, out += 8 * 2 * kRows) {
      for (std::size_t r = 0; r < kRows; r += 8) {
        Halves v[8], w[8];
        for (std::size_t i = 0; i < 8; ++i) v[i] = load<Halves>(rows[r + i] + 2 * e);
        merge_halves(v, w);
        merge_halves(w, v);
        merge_halves(v, w);
        for (std::size_t i = 0; i < 8; ++i) store(out + 2 * (i * kRows + r), w[i]);
      }
    }
    for (; e < count; ++e) {
      for (std::size_t r = 0; r < kRows; ++r, out += 2) std::memcpy(out, rows[r] + 2 * e, 2);
    }
  }
  static void merge_halves(const Halves (&in)[8], Halves (&out)[8]) {
    for (std::size_t i = 0; i < 4; ++i) {
      out[2 * i] = __builtin_shufflevector(in[i], in[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      out[2 * i + 1] = __builtin_shufflevector(in[i], in[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
  }

  /// `count` <= 16 bytes of all rows to [byte][16 rows]: four rounds of merging.
  static void transpose_bytes(const std::byte* const* rows, std::size_t count, std::byte* out) {
    if (count == 1) {
      for (std::size_t r = 0; r < kRows; ++r) out[r] = rows[r][0];
      return;
    }
    Bytes v[kRows], w[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      v[r] = Bytes{};
      std::memcpy(&v[r], rows[r], count);
    }
    merge_bytes(v, w);
    merge_bytes(w, v);
    merge_bytes(v, w);
    merge_bytes(w, v);
    for (std::size_t e = 0; e < count; ++e) store(out + kRows * e, v[e]);
  }
  static void merge_bytes(const Bytes (&in)[kRows], Bytes (&out)[kRows]) {
    for (std::size_t i = 0; i < 8; ++i) {
      out[2 * i] = __builtin_shufflevector(in[i], in[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      out[2 * i + 1] =
          __builtin_shufflevector(in[i], in[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
  }

  /// Nibbles from runs of `run` (32 or 64) bytes to runs of 16: low nibbles of 32 bytes are one group, high ones
  /// another.
  static void repack_nibbles(const std::byte* in, std::size_t run, std::size_t groups, std::byte* out) {
    const std::size_t apart = run / 32;  // groups between a byte's two values
    for (std::size_t g = 0; g < groups; g += 2 * apart) {
      for (std::size_t part = 0; part < apart; ++part, in += 32) {
        const Bytes a = load<Bytes>(in), b = load<Bytes>(in + 16);
        store(out + 16 * (g + part), (a & 15) | (b << 4));
        store(out + 16 * (g + part + apart), (a >> 4) | (b & 0xF0));
      }
    }
  }

  /// Pairs of bits from runs of 32 bytes to runs of 8.
  static void repack_pairs(const std::byte* in, std::size_t groups, std::byte* out) {
    constexpr std::uint64_t kMask = 0x0303030303030303u;
    for (std::size_t g = 0; g < groups; g += 4, in += 32) {
      for (std::size_t b = 0; b < 4; ++b, out += 8) {
        std::uint64_t packed = 0;
        for (std::size_t q = 0; q < 4; ++q) packed |= (load<std::uint64_t>(in + 8 * q) >> 2 * b & kMask) << 2 * q;
        store(out, packed);
      }
    }
  }

  /// Single bits from runs of 32 bytes to runs of 4: 8 groups at once, bit b of all bytes to word b.
  static void repack_bits(const std::byte* in, std::byte* out) {
    constexpr EightWords kShift = {0, 1, 2, 3, 4, 5, 6, 7};
    EightWords packed{};
    for (std::uint32_t w = 0; w < 8; ++w) {
      const std::uint32_t word = load<std::uint32_t>(in + 4 * w);
      const EightWords all = {word, word, word, word, word, word, word, word};
      packed |= (all >> kShift & 0x01010101u) << w;
    }
    store(out, packed);
  }

  /// 32 bits in order to the word where bit w of byte p is bit 4 w + p.
  static void spread_bits(const std::byte* in, std::byte* out) {
    const std::uint32_t bits = load<std::uint32_t>(in);
    std::uint32_t spread = 0;
    for (int w = 0; w < 8; ++w) spread |= ((bits >> 4 * w & 15u) * 0x00204081u & 0x01010101u) << w;
    store(out, spread);
  }

  static void repack(const QuantPiece& piece, std::size_t groups, const std::byte* in, std::byte* out) {
    if (piece.bits == 4) return repack_nibbles(in, piece.run, groups, out);
    if (piece.bits == 2) return repack_pairs(in, groups, out);
    piece.run == 32 ? repack_bits(in, out) : spread_bits(in, out);
  }

  /// One piece of one block of all rows: `groups` groups, `stride` bytes apart.
  [[gnu::always_inline]] static inline void interleave_piece(const std::byte* const* blocks, const QuantPiece& piece,
                                                             std::size_t groups, std::size_t stride, std::byte* out) {
    alignas(64) std::byte packed[kRows][128];
    const std::byte* rows[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      rows[r] = blocks[r] + piece.offset;
      if (piece.run == unit_run(piece.bits)) continue;
      repack(piece, groups, rows[r], packed[r]);
      rows[r] = packed[r];
    }
    for (std::size_t g = 0; g < groups; ++g, out += stride) {
      transpose_words(rows, piece.bits, out);
      for (const std::byte*& row : rows) row += 4 * piece.bits;
    }
  }

  /// [K][16 rows] of plain values.
  template <std::size_t kBytes>
  static void plain(const std::byte* const* rows, std::int64_t first, std::int64_t count, std::byte* out) {
    const std::byte* from[kRows];
    for (std::size_t r = 0; r < kRows; ++r) from[r] = rows[r] + static_cast<std::size_t>(first) * kBytes;
    const auto values = static_cast<std::size_t>(count);
    kBytes == 4 ? transpose_words(from, values, out) : transpose_halves(from, values, out);
  }

  /// Block `in_unit` of a unit from the blocks of 16 rows.
  template <std::size_t kLayout>
  static void one_block(const std::byte* const (&from)[kRows], std::int64_t in_unit, std::byte* out) {
    constexpr const UnitLayout& layout = kLayouts[kLayout];
    constexpr std::size_t kGroups = layout.block_columns / 32;
    std::size_t used = 0;
    const std::size_t words = each_field(layout, [&](const SmallField& field, std::int64_t of, std::size_t at) {
      used = at + field.element_bytes * field.count * kRows;
      if (of != in_unit) return;
      const std::byte* elements[kRows];
      for (std::size_t r = 0; r < kRows; ++r) elements[r] = from[r] + field.offset;
      field.element_bytes == 2 ? transpose_halves(elements, field.count, out + at)
                               : transpose_bytes(elements, field.count, out + at);
    });
    if (in_unit == 0) std::memset(out + used, 0, words - used);
    each_piece(layout, [&](const QuantPiece& piece, std::size_t at, std::size_t stride) {
      interleave_piece(from, piece, kGroups, stride, out + at + static_cast<std::size_t>(in_unit) * kGroups * stride);
    });
  }

  // Constants of the layout are folded into the code: a generic loop over its fields costs several times as much.
  template <std::size_t kLayout>
  static void units(const std::byte* const* rows, std::int64_t blocks, std::int64_t first, std::int64_t count,
                    std::byte* out) {
    constexpr const UnitLayout& layout = kLayouts[kLayout];
    if constexpr (layout.pieces.empty()) {
      plain<layout.block_bytes>(rows, first, count, out);
    } else {
      static constexpr std::byte kZeros[256] = {};
      const std::byte* from[kRows];
      std::size_t step[kRows];
      for (std::size_t r = 0; r < kRows; ++r) {
        const std::size_t begin = static_cast<std::size_t>(first * layout.blocks) * layout.block_bytes;
        from[r] = rows[r] == nullptr ? kZeros : rows[r] + begin;
        step[r] = rows[r] == nullptr ? 0 : layout.block_bytes;
      }
      for (std::int64_t unit = first; unit < first + count; ++unit, out += layout.bytes) {
        for (std::int64_t block = 0; block < layout.blocks; ++block) {
          if (unit * layout.blocks + block == blocks) {  // the last unit is not full
            for (const std::byte*& row : from) row = kZeros;
            for (std::size_t& bytes : step) bytes = 0;
          }
          one_block<kLayout>(from, block, out);
          for (std::size_t r = 0; r < kRows; ++r) from[r] += step[r];
        }
      }
    }
  }

  template <std::size_t... kLayout>
  static constexpr InterleaveTable table(std::index_sequence<kLayout...>) {
    return {{units<kLayout>...}};
  }
  static constexpr InterleaveTable table() { return table(std::make_index_sequence<kLayoutCount>()); }
};

}  // namespace junto
