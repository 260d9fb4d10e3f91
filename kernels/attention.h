// The inner products of attention over stored rows (F32, F16 or Q8_0). A key's score and an output element depend on
// their own rows alone, to the bit, however many keys one call has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/softmax.h"
#include "tensor/dtype.h"

namespace junto {

/// Rows of a KV page: row i starts at data + i * stride. Q8_0 rows are padded to whole blocks.
struct StoredRows {
  DType type = DType::kF16;
  const std::byte* data = nullptr;
  std::size_t stride = 0;  // bytes
};

/// scores[i] = q . key i, for scores.size() keys of q.size() values.
void dot_keys(std::span<const float> q, StoredRows keys, std::span<float> scores);

/// out[d] += sum over i of weights[i] * value i [d], i ascending.
void accumulate_values(std::span<const float> weights, StoredRows values, std::span<float> out);

/// Keys of one page.
inline constexpr std::size_t kPageKeys = 32;

/// The keys of a page as score_page() reads them, by dimension: [dim, 32] values of F32 or F16; in Q8_0 the blocks'
/// scales [ceil(dim / 32), 32] as F16, then [dim, 32] int8. They take the room of 32 rows at most.
struct PageKeys {
  DType type = DType::kF16;
  const std::byte* data = nullptr;
};

/// scores[t][i] = q[t] . key i, for all 32 keys and every query of `dim` values. A query's scores do not depend on the
/// other queries.
void score_page(std::span<const float* const> q, std::size_t dim, PageKeys keys, std::span<float* const> scores);

/// out[t][d] += sum over i < count of weights[t][i] * value i [d], i ascending; `dim` values. As accumulate_values()
/// for several queries, which share what is loaded.
void add_values(std::span<const float* const> weights, std::size_t count, StoredRows values, std::size_t dim,
                std::span<float* const> out);

/// Encodes one key into its place of a page: the values of store_row(), by dimension.
void store_page_key(std::span<const float> x, DType type, std::byte* page, int slot);

/// Encodes one row; `row` has room for the padded row. In Q8_0, a value that is not finite makes its block NaN.
void store_row(std::span<const float> x, DType type, std::byte* row);

}  // namespace junto
