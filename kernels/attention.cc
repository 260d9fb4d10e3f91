#include "kernels/attention.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/row_kernels.h"

namespace junto {
namespace {

/// The kernel for rows stored as `type`.
template <class Kernel>
Kernel kernel_for(DType type, Kernel f32, Kernel f16, Kernel q8_0) {
  switch (type) {
    case DType::kF32:
      return f32;
    case DType::kF16:
      return f16;
    case DType::kQ8_0:
      return q8_0;
    default:
      fail("attention", "type is " + std::string(dtype_name(type)) + ", expected f32, f16 or q8_0");
  }
}

}  // namespace

void dot_keys(std::span<const float> q, StoredRows keys, std::span<float> scores) {
  const RowKernels& k = row_kernels();
  kernel_for(keys.type, k.dot_keys_f32, k.dot_keys_f16, k.dot_keys_q8_0)(q.data(), q.size(), keys.data, keys.stride,
                                                                         scores.size(), scores.data());
}

void accumulate_values(std::span<const float> weights, StoredRows values, std::span<float> out) {
  const RowKernels& k = row_kernels();
  kernel_for(values.type, k.accumulate_f32, k.accumulate_f16, k.accumulate_q8_0)(
      weights.data(), weights.size(), values.data, values.stride, out.size(), out.data());
}

void score_page(std::span<const float* const> q, std::size_t dim, PageKeys keys, std::span<float* const> scores) {
  const RowKernels& k = row_kernels();
  kernel_for(keys.type, k.score_page_f32, k.score_page_f16, k.score_page_q8_0)(q.data(), static_cast<int>(q.size()),
                                                                               dim, keys.data, scores.data());
}

void add_values(std::span<const float* const> weights, std::size_t count, StoredRows values, std::size_t dim,
                std::span<float* const> out) {
  const RowKernels& k = row_kernels();
  kernel_for(values.type, k.add_values_f32, k.add_values_f16, k.add_values_q8_0)(
      weights.data(), static_cast<int>(weights.size()), count, values.data, values.stride, dim, out.data());
}

namespace {

// Value d of a row to [d, slot] of a page.
template <class T>
void scatter(const std::byte* row, std::size_t count, std::byte* page, int slot) {
  for (std::size_t d = 0; d < count; ++d) {
    std::memcpy(page + (d * kPageKeys + static_cast<std::size_t>(slot)) * sizeof(T), row + d * sizeof(T), sizeof(T));
  }
}

}  // namespace

void store_page_key(std::span<const float> x, DType type, std::byte* page, int slot) {
  constexpr std::size_t kStep = 256;  // values: whole blocks
  constexpr std::size_t kBlock = 32;
  std::byte row[kStep * sizeof(float)];
  std::byte* const quants = page + (x.size() + kBlock - 1) / kBlock * kPageKeys * sizeof(std::uint16_t);
  for (std::size_t begin = 0; begin < x.size(); begin += kStep) {
    const std::span<const float> part = x.subspan(begin, std::min(kStep, x.size() - begin));
    store_row(part, type, row);
    const std::size_t first = begin * kPageKeys;
    if (type == DType::kF32) {
      scatter<float>(row, part.size(), page + first * sizeof(float), slot);
    } else if (type == DType::kF16) {
      scatter<std::uint16_t>(row, part.size(), page + first * sizeof(std::uint16_t), slot);
    } else {
      for (std::size_t d = 0; d < part.size(); d += kBlock) {
        const std::byte* block = row + d / kBlock * (kBlock + sizeof(std::uint16_t));
        scatter<std::uint16_t>(block, 1, page + (begin + d) / kBlock * kPageKeys * sizeof(std::uint16_t), slot);
        scatter<std::int8_t>(block + sizeof(std::uint16_t), std::min(kBlock, part.size() - d),
                             quants + first + d * kPageKeys, slot);
      }
    }
  }
}

namespace {

void store_f32(const float* x, std::size_t count, std::byte* row) {
  std::memcpy(row, x, count * sizeof *x);
}

}  // namespace

void store_row(std::span<const float> x, DType type, std::byte* row) {
  const RowKernels& k = row_kernels();
  kernel_for(type, &store_f32, k.store_f16, k.store_q8_0)(x.data(), x.size(), row);
}

}  // namespace junto
