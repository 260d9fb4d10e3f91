// How stored rows become interleaved units (layout: interleave.h), for interleave*.cc only. Everything is a member of a
// template over a tag, so that the copies compiled for different instruction sets share no code; vectors are GCC's and
// Clang's.
#pragma once

#include <algorithm>
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

  /// 16 rows that lie the same distance apart: addresses take no table, which would cost more than the bytes.
  struct EvenRows {
    const std::byte* first;
    std::size_t apart;
    const std::byte* operator[](std::size_t r) const { return first + r * apart; }
    void advance(std::size_t bytes) { first += bytes; }
    EvenRows operator+(std::size_t bytes) const { return {first + bytes, apart}; }
  };

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

  /// `count` words of all rows to [word][16 rows]: four words of four rows are transposed, of eight rows side by side.
  template <class Rows>
  [[gnu::always_inline]] static inline void transpose_words(const Rows& rows, std::size_t count, std::byte* out) {
    std::size_t e = 0;
    for (; e + 4 <= count; e += 4, out += 4 * kLine) {
      for (std::size_t r = 0; r < kRows; r += 8) {
        EightWords in[4];
        for (std::size_t i = 0; i < 4; ++i) {
          const auto low = load<Words>(rows[r + i] + 4 * e), high = load<Words>(rows[r + i + 4] + 4 * e);
          in[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
        }
        const EightWords a = __builtin_shufflevector(in[0], in[1], 0, 8, 1, 9, 4, 12, 5, 13);
        const EightWords b = __builtin_shufflevector(in[0], in[1], 2, 10, 3, 11, 6, 14, 7, 15);
        const EightWords c = __builtin_shufflevector(in[2], in[3], 0, 8, 1, 9, 4, 12, 5, 13);
        const EightWords d = __builtin_shufflevector(in[2], in[3], 2, 10, 3, 11, 6, 14, 7, 15);
        store(out + 4 * r, __builtin_shufflevector(a, c, 0, 1, 8, 9, 4, 5, 12, 13));
        store(out + kLine + 4 * r, __builtin_shufflevector(a, c, 2, 3, 10, 11, 6, 7, 14, 15));
        store(out + 2 * kLine + 4 * r, __builtin_shufflevector(b, d, 0, 1, 8, 9, 4, 5, 12, 13));
        store(out + 3 * kLine + 4 * r, __builtin_shufflevector(b, d, 2, 3, 10, 11, 6, 7, 14, 15));
      }
    }
    for (; e < count; ++e) {
      for (std::size_t r = 0; r < kRows; ++r, out += 4) std::memcpy(out, rows[r] + 4 * e, 4);
    }
  }

  /// `count` numbers of 2 bytes of all rows to [number][16 rows], eight at a time: three rounds of merging neighbours.
  template <class Rows>
  [[gnu::always_inline]] static inline void transpose_halves(const Rows& rows, std::size_t count, std::byte* out) {
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
  template <class Rows>
  [[gnu::always_inline]] static inline void transpose_bytes(const Rows& rows, std::size_t count, std::byte* out) {
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
  template <class Rows>
  [[gnu::always_inline]] static inline void interleave_piece(const Rows& blocks, const QuantPiece& piece,
                                                             std::size_t groups, std::size_t stride, std::byte* out) {
    if (piece.run == unit_run(piece.bits)) {
      for (std::size_t g = 0; g < groups; ++g) {
        transpose_words(blocks + (piece.offset + 4 * g * piece.bits), piece.bits, out + g * stride);
      }
      return;
    }
    constexpr std::size_t kMostBytes = 128;
    alignas(64) std::byte packed[kRows * kMostBytes];
    for (std::size_t r = 0; r < kRows; ++r) repack(piece, groups, blocks[r] + piece.offset, packed + r * kMostBytes);
    for (std::size_t g = 0; g < groups; ++g) {
      transpose_words(EvenRows{packed + 4 * g * piece.bits, kMostBytes}, piece.bits, out + g * stride);
    }
  }

  /// [K][16 rows] of plain values.
  template <std::size_t kBytes>
  static void plain(const std::byte* const* rows, std::int64_t first, std::int64_t count, std::byte* out) {
    const std::byte* from[kRows];
    for (std::size_t r = 0; r < kRows; ++r) from[r] = rows[r] + static_cast<std::size_t>(first) * kBytes;
    const auto values = static_cast<std::size_t>(count);
    if constexpr (kBytes == 4) {
      transpose_words(from, values, out);
    } else {
      transpose_halves(from, values, out);
    }
  }

  /// Block `in_unit` of a unit from the blocks of 16 rows.
  template <std::size_t kLayout, class Rows>
  [[gnu::always_inline]] static inline void one_block(const Rows& from, std::int64_t in_unit, std::byte* out) {
    constexpr const UnitLayout& layout = kLayouts[kLayout];
    constexpr std::size_t kGroups = layout.block_columns / 32;
    std::size_t used = 0;
    const auto put_field = [&](const SmallField& field, std::int64_t of, std::size_t at)
        __attribute__((always_inline)) {
      used = at + field.element_bytes * field.count * kRows;
      if (of != in_unit) return;
      field.element_bytes == 2 ? transpose_halves(from + field.offset, field.count, out + at)
                               : transpose_bytes(from + field.offset, field.count, out + at);
    };
    const std::size_t words = each_field(layout, put_field);
    if (in_unit == 0) std::memset(out + used, 0, words - used);
    const auto put_piece = [&](const QuantPiece& piece, std::size_t at, std::size_t stride)
        __attribute__((always_inline)) {
      interleave_piece(from, piece, kGroups, stride, out + at + static_cast<std::size_t>(in_unit) * kGroups * stride);
    };
    each_piece(layout, put_piece);
  }

  /// `bytes` of each row from `begin` on side by side, zeros where there is no row, in steps of `apart`.
  static void gather(const std::byte* const* rows, std::size_t begin, std::size_t bytes, std::size_t apart,
                     std::byte* side) {
    std::memset(side, 0, kRows * apart);
    for (std::size_t r = 0; r < kRows; ++r) {
      if (rows[r] != nullptr) std::memcpy(side + r * apart, rows[r] + begin, bytes);
    }
  }

  /// How far apart all rows lie, or 0 where that differs or some are missing.
  static std::size_t distance_of(const std::byte* const* rows) {
    for (std::size_t r = 0; r < kRows; ++r) {
      if (rows[r] == nullptr) return 0;
      if (r > 1 && rows[r] - rows[r - 1] != rows[1] - rows[0]) return 0;
    }
    return static_cast<std::size_t>(rows[1] - rows[0]);
  }

  // Constants of the layout are folded into the code: a generic loop over its fields costs several times as much. So it
  // stands here once: what is not whole units of even rows is made such.
  template <std::size_t kLayout>
  static void units(const std::byte* const* rows, std::int64_t blocks, std::int64_t first, std::int64_t count,
                    std::byte* out) {
    constexpr const UnitLayout& layout = kLayouts[kLayout];
    if constexpr (layout.pieces.empty()) {
      plain<layout.block_bytes>(rows, first, count, out);
    } else {
      constexpr std::size_t kUnit = static_cast<std::size_t>(layout.blocks) * layout.block_bytes;  // of one row
      alignas(64) std::byte side[kRows * kUnit];
      const std::size_t apart = distance_of(rows);
      for (std::int64_t unit = first; unit < first + count; ++unit, out += layout.bytes) {
        const std::size_t begin = static_cast<std::size_t>(unit) * kUnit;
        const std::int64_t there = std::min<std::int64_t>(layout.blocks, blocks - unit * layout.blocks);
        EvenRows from = {side, kUnit};
        if (apart > 0 && there == layout.blocks) {
          from = {rows[0] + begin, apart};
        } else {
          gather(rows, begin, static_cast<std::size_t>(there) * layout.block_bytes, kUnit, side);
        }
        for (std::int64_t block = 0; block < layout.blocks; ++block) {
          one_block<kLayout>(from, block, out);
          from.advance(layout.block_bytes);
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
