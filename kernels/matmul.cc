#include "kernels/matmul.h"

#include <cassert>
#include <string>

#include "base/error.h"
#include "kernels/choose.h"
#include "kernels/matmul_portable.h"
#include "tensor/block_formats.h"

namespace junto {

WeightMatrix make_weights(const Tensor& tensor) {
  if (tensor.shape.size() != 2) fail("weights", "shape is " + to_string(tensor.shape) + ", expected two dimensions");
  WeightMatrix w{tensor.type,        tensor.shape[0],     tensor.shape[1],
                 tensor.row_bytes(), tensor.bytes.data(), tensor.keep_alive};
  if (block_format(w.type).encode == nullptr) {
    fail("weights", "type is " + std::string(dtype_name(w.type)) + ", expected one that holds real numbers");
  }
  if (tensor.bytes.size() < w.bytes()) {
    fail("weights", "size is " + std::to_string(tensor.bytes.size()) + " bytes, expected " + std::to_string(w.bytes()));
  }
  return w;
}

void matmul(const WeightMatrix& w, RowRange range, const ActivationRows& x, std::span<const std::int32_t> x_rows,
            MatrixView<float> out, std::span<const std::int32_t> out_rows) {
  assert(x.cols() == w.cols && 0 <= range.begin && range.end <= w.rows && range.end <= out.cols);
  assert(x_rows.empty() || out_rows.empty() || x_rows.size() == out_rows.size());
  matmul_portable(w, range, x, x_rows, out, out_rows);
}

std::int64_t matmul_block_rows(const WeightMatrix& /*w*/) {
  return 64;
}

std::string_view active_isa() {
  return "portable";
}

}  // namespace junto
