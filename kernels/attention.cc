#include "kernels/attention.h"

#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/row_kernels.h"

namespace junto {
namespace {

[[noreturn]] void refuse(DType type) {
  fail("attention", "type is " + std::string(dtype_name(type)) + ", expected f32, f16 or q8_0");
}

}  // namespace

void dot_keys(std::span<const float> q, StoredRows keys, std::span<float> scores) {
  const RowKernels& kernels = row_kernels();
  const auto run = [&](RowKernels::DotKeys kernel) {
    kernel(q.data(), q.size(), keys.data, keys.stride, scores.size(), scores.data());
  };
  switch (keys.type) {
    case DType::kF32:
      return run(kernels.dot_keys_f32);
    case DType::kF16:
      return run(kernels.dot_keys_f16);
    case DType::kQ8_0:
      return run(kernels.dot_keys_q8_0);
    default:
      refuse(keys.type);
  }
}

void accumulate_values(std::span<const float> weights, StoredRows values, std::span<float> out) {
  const RowKernels& kernels = row_kernels();
  const auto run = [&](RowKernels::AccumulateValues kernel) {
    kernel(weights.data(), weights.size(), values.data, values.stride, out.size(), out.data());
  };
  switch (values.type) {
    case DType::kF32:
      return run(kernels.accumulate_f32);
    case DType::kF16:
      return run(kernels.accumulate_f16);
    case DType::kQ8_0:
      return run(kernels.accumulate_q8_0);
    default:
      refuse(values.type);
  }
}

void store_row(std::span<const float> x, DType type, std::byte* row) {
  switch (type) {
    case DType::kF32:
      std::memcpy(row, x.data(), x.size_bytes());
      return;
    case DType::kF16:
      return row_kernels().store_f16(x.data(), x.size(), row);
    case DType::kQ8_0:
      return row_kernels().store_q8_0(x.data(), x.size(), row);
    default:
      refuse(type);
  }
}

}  // namespace junto
