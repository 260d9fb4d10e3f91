// Which tensors a written file has, under canonical names: experts that are alike stacked, the others alone; rows put
// into the order of the file's rotation; latent attention's kv_b as the two halves that run.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/encode_rows.h"
#include "compress/tensor_types.h"
#include "model/config.h"
#include "model/tensor_names.h"

namespace junto {

struct PlannedTensor {
  std::string name;
  Shape shape;
  DType stored = DType::kF32;  // of the first part
  DType type = DType::kF32;    // to be written
  DType asked = DType::kF32;   // differs from `type` where rows do not fit
  RowSource source;
};

/// "blk.3.ffn_down.5.weight": one expert's tensor.
struct ExpertTensorName {
  std::string stack;  // "blk.3.ffn_down_exps.weight"
  int block = 0;
  int expert = 0;
};
std::optional<ExpertTensorName> parse_expert_tensor(std::string_view name);

/// Plans every tensor of `tensors`, a model of `config`. Where `written` pairs rotated rows otherwise than `config`, q
/// and k (and their norms and biases) are put into its order; where `config` stores norm weights less one and `written`
/// does not, one is added; an output matrix that tied embeddings make useless is left out. Types are chosen by
/// `request`. Throws Error naming `file` and the tensor where a shape does not fit the configuration.
std::vector<PlannedTensor> plan_tensors(const std::string& file, const TensorTable& tensors, const ModelConfig& config,
                                        const ModelConfig& written, const TypeRequest& request);

/// Joins q, k and v of each block (attn_qkv), in the type of q.
void fuse_qkv(std::vector<PlannedTensor>& plan);

/// Sorts as files are: embedding, blocks, output.
void sort_plan(std::vector<PlannedTensor>& plan);

/// A line for each kind of fallback: "12 tensors as q8_0, as rows of 64 values do not fit blocks of q4_k (256 values):
/// blk.0.attn_q.weight and others".
std::vector<std::string> describe_fallbacks(const std::vector<PlannedTensor>& plan);

}  // namespace junto
