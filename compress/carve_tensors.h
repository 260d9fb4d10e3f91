// The tensors of a carved block, made of the dense ones.
#pragma once

#include <string>
#include <vector>

#include "compress/carve_router.h"
#include "format/named_tensors.h"
#include "model/tensor_names.h"
#include "tensor/dtype.h"

namespace junto {

/// Canonical names of what a dense feed-forward has, "blk.3.ffn_up.weight" and so on, as far as `tensors` has them.
std::vector<std::string> dense_ffn_names(const TensorTable& tensors, int block);

/// The width F of a block's dense feed-forward, 0 where it has none.
std::int64_t dense_ffn_width(const TensorTable& tensors, int block);

/// A block's down matrix [D, F]. Throws Error naming the tensor where a value is not finite.
Matrix<float> down_matrix(const TensorTable& tensors, int block);

/// The type of down matrices, whose columns of `hidden_size` values are stored: `asked`, or F16 where these do not fill
/// its blocks.
DType carved_down_type(DType asked, std::int64_t hidden_size);

/// Router, shared expert and stacks of routed experts. Rows of gate and up are copied bit for bit, and so are those of
/// `down_columns` [F, D], what each neuron puts out, encoded (round_columns()). An expert that is not chosen leaves
/// `carving.unchosen_output` where `mean_of_unchosen` says so. Refers to the bytes of `tensors`, whose owners it keeps.
std::vector<TensorToWrite> carved_tensors(const TensorTable& tensors, int block, const BlockCarving& carving,
                                          const Tensor& down_columns, bool mean_of_unchosen);

}  // namespace junto
