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

/// Encodes one row; `row` has room for the padded row. In Q8_0, a value that is not finite makes its block NaN.
void store_row(std::span<const float> x, DType type, std::byte* row);

}  // namespace junto
