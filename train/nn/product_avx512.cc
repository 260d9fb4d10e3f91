// A tile of 6 rows and 64 columns of c stays in 24 registers while k goes by: each step loads 4 vectors of b and
// broadcasts 6 values of a. op(b) must have its columns side by side: b is used as it stands, or transposed in panels
// of 64 columns. a is used as it stands, or, transposed, copied in pieces whose columns are side by side.
#include "train/nn/product_avx512.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

namespace junto {
namespace {

constexpr std::int64_t kDepth = 512;        // of k at a time: a panel of b is 128 kB, in the second cache
constexpr std::int64_t kPanelColumns = 64;  // of b
constexpr std::int64_t kPanelRows = 96;     // of transposed a: copied together
constexpr int kTileRows = 6;

struct PanelScratch {
  alignas(64) float a[kDepth * kPanelRows];
  alignas(64) float b[kDepth * kPanelColumns];
};

/// a(i, p) stands at a[i * row + p * step].
struct Operand {
  const float* values;
  std::int64_t row, step;
};

/// c [Rows, Vectors * 16] = or += a b, b [k, Vectors * 16].
template <int Rows, int Vectors>
inline void multiply_tile(std::int64_t k, const Operand& a, const float* b, std::int64_t ldb, bool add, float* c,
                          std::int64_t ldc) {
  __m512 sums[Rows][Vectors];
#pragma GCC unroll 6
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) sums[i][j] = _mm512_setzero_ps();
  }
  const float* values = a.values;
  for (std::int64_t p = 0; p < k; ++p, values += a.step, b += ldb) {
    __m512 right[Vectors];
    for (int j = 0; j < Vectors; ++j) right[j] = _mm512_loadu_ps(b + 16 * j);
    for (int i = 0; i < Rows; ++i) {
      const __m512 left = _mm512_set1_ps(values[i * a.row]);
      for (int j = 0; j < Vectors; ++j) sums[i][j] = _mm512_fmadd_ps(left, right[j], sums[i][j]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) {
      float* out = c + i * ldc + 16 * j;
      _mm512_storeu_ps(out, add ? _mm512_add_ps(_mm512_loadu_ps(out), sums[i][j]) : sums[i][j]);
    }
  }
}

template <int Vectors>
void multiply_panel(std::int64_t m, std::int64_t k, Operand a, const float* b, std::int64_t ldb, bool add, float* c,
                    std::int64_t ldc) {
  std::int64_t i = 0;
  for (; i + kTileRows <= m; i += kTileRows) {
    multiply_tile<kTileRows, Vectors>(k, a, b, ldb, add, c, ldc);
    a.values += kTileRows * a.row;
    c += kTileRows * ldc;
  }
  switch (m - i) {
    case 1:
      return multiply_tile<1, Vectors>(k, a, b, ldb, add, c, ldc);
    case 2:
      return multiply_tile<2, Vectors>(k, a, b, ldb, add, c, ldc);
    case 3:
      return multiply_tile<3, Vectors>(k, a, b, ldb, add, c, ldc);
    case 4:
      return multiply_tile<4, Vectors>(k, a, b, ldb, add, c, ldc);
    case 5:
      return multiply_tile<5, Vectors>(k, a, b, ldb, add, c, ldc);
    default:
      return;
  }
}

void multiply_columns(std::int64_t columns, std::int64_t m, std::int64_t k, const Operand& a, const float* b,
                      std::int64_t ldb, bool add, float* c, std::int64_t ldc) {
  switch (columns / 16) {
    case 1:
      return multiply_panel<1>(m, k, a, b, ldb, add, c, ldc);
    case 2:
      return multiply_panel<2>(m, k, a, b, ldb, add, c, ldc);
    case 3:
      return multiply_panel<3>(m, k, a, b, ldb, add, c, ldc);
    default:
      return multiply_panel<4>(m, k, a, b, ldb, add, c, ldc);
  }
}

/// to [16, kPanelColumns apart] = the transposed of from [16, ld apart].
inline void transpose_16(const float* from, std::int64_t ld, float* to) {
  __m512 r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(from + i * ld);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  const auto pairs = [](__m512 a, __m512 b, bool high) {
    const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
  };
  for (int i = 0; i < 16; i += 4) {  // r[i + q]: of rows i .. i + 3, columns q, 4 + q, 8 + q, 12 + q
    r[i] = pairs(t[i], t[i + 2], false);
    r[i + 1] = pairs(t[i], t[i + 2], true);
    r[i + 2] = pairs(t[i + 1], t[i + 3], false);
    r[i + 3] = pairs(t[i + 1], t[i + 3], true);
  }
  for (int q = 0; q < 4; ++q) {
    const __m512 even_low = _mm512_shuffle_f32x4(r[q], r[4 + q], 0x88),
                 odd_low = _mm512_shuffle_f32x4(r[q], r[4 + q], 0xdd);
    const __m512 even_high = _mm512_shuffle_f32x4(r[8 + q], r[12 + q], 0x88),
                 odd_high = _mm512_shuffle_f32x4(r[8 + q], r[12 + q], 0xdd);
    _mm512_store_ps(to + q * kPanelColumns, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
    _mm512_store_ps(to + (4 + q) * kPanelColumns, _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
    _mm512_store_ps(to + (8 + q) * kPanelColumns, _mm512_shuffle_f32x4(even_low, even_high, 0xdd));
    _mm512_store_ps(to + (12 + q) * kPanelColumns, _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd));
  }
}

/// to [k, kPanelColumns apart] = the transposed of from [columns, ld apart], columns a multiple of 16.
void transpose_panel(std::int64_t columns, std::int64_t k, const float* from, std::int64_t ld, float* to) {
  std::int64_t p = 0;
  for (; p + 16 <= k; p += 16) {
    for (std::int64_t j = 0; j < columns; j += 16) transpose_16(from + j * ld + p, ld, to + p * kPanelColumns + j);
  }
  for (; p < k; ++p) {
    for (std::int64_t j = 0; j < columns; ++j) to[p * kPanelColumns + j] = from[j * ld + p];
  }
}

}  // namespace

void product_avx512(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
                    std::int64_t lda, const float* b, std::int64_t ldb, bool add, float* c, std::int64_t ldc) {
  static thread_local PanelScratch scratch;
  const std::int64_t rows_at_once = transpose_a ? kPanelRows : m;
  for (std::int64_t p = 0; p < k; p += kDepth) {
    const std::int64_t depth = std::min(kDepth, k - p);
    const bool more = add || p > 0;
    for (std::int64_t i = 0; i < m; i += rows_at_once) {
      const std::int64_t rows = std::min(rows_at_once, m - i);
      Operand left{a + i * lda + p, lda, 1};
      if (transpose_a) {
        for (std::int64_t q = 0; q < depth; ++q)
          std::memcpy(scratch.a + q * kPanelRows, a + (p + q) * lda + i,
                      static_cast<std::size_t>(rows) * sizeof(float));
        left = {scratch.a, 1, kPanelRows};
      }
      for (std::int64_t j = 0; j < n; j += kPanelColumns) {
        const std::int64_t columns = std::min(kPanelColumns, n - j);
        const float* right = b + p * ldb + j;
        std::int64_t apart = ldb;
        if (transpose_b) {
          transpose_panel(columns, depth, b + j * ldb + p, ldb, scratch.b);
          right = scratch.b, apart = kPanelColumns;
        }
        multiply_columns(columns, rows, depth, left, right, apart, more, c + i * ldc + j, ldc);
      }
    }
  }
}

}  // namespace junto
