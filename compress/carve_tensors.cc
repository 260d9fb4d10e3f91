#include "compress/carve_tensors.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

constexpr const char* kRoles[] = {"ffn_gate", "ffn_up", "ffn_down"};

std::string in_block(int block, const std::string& role) {
  return "blk." + std::to_string(block) + "." + role;
}

const Tensor* find(const TensorTable& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}

TensorToWrite floats(std::string name, Shape shape, std::vector<float> values) {
  return to_write(std::move(name), make_tensor(std::move(shape), std::move(values)));
}

TensorToWrite halves(std::string name, Shape shape, std::span<const float> values) {
  auto bytes = std::make_shared<std::vector<std::byte>>(bytes_of(DType::kF16, std::ssize(values)));
  encode_values(DType::kF16, values, bytes->data());
  return to_write(std::move(name), {DType::kF16, std::move(shape), *bytes, bytes});
}

/// One expert or a stack of them: neurons[e] of each. The shape is [experts, ...] for a stack.
struct Group {
  std::string suffix;  // "_shexp" or "_exps"
  bool stacked = false;
  std::vector<std::vector<std::int32_t>> neurons;

  Shape shape(std::int64_t rows, std::int64_t cols) const {
    Shape out{rows, cols};
    if (stacked) out.insert(out.begin(), std::ssize(neurons));
    return out;
  }
  std::int64_t width() const { return std::ssize(neurons.front()); }
};

// Rows of a matrix, as they are stored.
TensorToWrite gathered_rows(std::string name, const Tensor& from, const Group& group) {
  TensorToWrite out{std::move(name), from.type, group.shape(group.width(), from.cols()), nullptr};
  out.produce = [from, neurons = group.neurons](const ByteSink& sink) {
    const std::size_t bytes = from.row_bytes();
    for (const auto& expert : neurons) {
      for (const std::int32_t n : expert) sink(from.bytes.subspan(static_cast<std::size_t>(n) * bytes, bytes));
    }
  };
  return out;
}

void add_group(const TensorTable& tensors, int block, const Group& group, const Tensor& down_columns,
               std::vector<TensorToWrite>& out) {
  for (const char* role : {"ffn_gate", "ffn_up"}) {
    const std::string name = in_block(block, role);
    if (const Tensor* matrix = find(tensors, name + ".weight"))
      out.push_back(gathered_rows(name + group.suffix + ".weight", *matrix, group));
    const Tensor* bias = find(tensors, name + ".bias");
    if (!bias) continue;
    const std::vector<float> values = decode(*bias);
    std::vector<float> kept;
    for (const auto& expert : group.neurons) {
      for (const std::int32_t n : expert) kept.push_back(values[n]);
    }
    Shape shape{group.width()};
    if (group.stacked) shape.insert(shape.begin(), std::ssize(group.neurons));
    out.push_back(floats(name + group.suffix + ".bias", std::move(shape), std::move(kept)));
  }
  out.push_back(gathered_rows(in_block(block, "ffn_down_t") + group.suffix + ".weight", down_columns, group));
}

// An expert that is not chosen leaves its mean output m_e: sum of all m_e as the layer's bias, and -m_e as the bias of
// each expert, so that what is chosen counts once and all of them together are the old function.
void add_means(int block, const BlockCarving& carving, std::vector<TensorToWrite>& out,
               std::vector<float>& layer_bias) {
  const auto left = carving.unchosen_output.view();
  std::vector<float> biases;
  for (std::int64_t e = 0; e < left.rows; ++e) {
    const std::span<const float> mean = left.row(e);
    for (std::int64_t d = 0; d < left.cols; ++d) {
      biases.push_back(-mean[d]);
      layer_bias[d] += mean[d];
    }
  }
  out.push_back(floats(in_block(block, "ffn_down_exps.bias"), {left.rows, left.cols}, std::move(biases)));
}

}  // namespace

std::vector<std::string> dense_ffn_names(const TensorTable& tensors, int block) {
  std::vector<std::string> names;
  for (const char* role : kRoles) {
    for (const char* kind : {".weight", ".bias"}) {
      std::string name = in_block(block, role) + kind;
      if (tensors.contains(name)) names.push_back(std::move(name));
    }
  }
  return names;
}

std::int64_t dense_ffn_width(const TensorTable& tensors, int block) {
  const Tensor* up = find(tensors, in_block(block, "ffn_up.weight"));
  return up ? up->rows() : 0;
}

Matrix<float> down_matrix(const TensorTable& tensors, int block) {
  const std::string name = in_block(block, "ffn_down.weight");
  const Tensor& down = tensors.find(name)->second;
  Matrix<float> values(down.rows(), down.cols());
  for (std::int64_t r = 0; r < down.rows(); ++r) {
    const std::span<float> row = values.view().row(r);
    decode_row(down, r, row);
    if (!std::ranges::all_of(row, [](float value) { return std::isfinite(value); }))
      fail(tensor_label(name), "has a value in row " + std::to_string(r) + " that is not finite");
  }
  return values;
}

DType carved_down_type(DType asked, std::int64_t hidden_size) {
  return hidden_size % block_format(asked).block_values == 0 ? asked : DType::kF16;
}

std::vector<TensorToWrite> carved_tensors(const TensorTable& tensors, int block, const BlockCarving& carving,
                                          const Tensor& down_columns, bool mean_of_unchosen) {
  std::vector<TensorToWrite> out;
  const std::int64_t experts = std::ssize(carving.experts);
  const std::string router = in_block(block, "ffn_gate_inp");
  const auto weights = carving.router.view();
  out.push_back(halves(router + ".weight", {experts, weights.cols},
                       {weights.data, static_cast<std::size_t>(experts * weights.cols)}));
  out.push_back(floats(router + ".bias", {experts}, carving.router_bias));
  if (!carving.shared.empty()) {
    add_group(tensors, block, {"_shexp", false, {carving.shared}}, down_columns, out);
  }
  add_group(tensors, block, {"_exps", true, carving.experts}, down_columns, out);

  const std::string down = in_block(block, "ffn_down");
  std::vector<float> layer_bias(static_cast<std::size_t>(tensors.find(down + ".weight")->second.rows()));
  if (const Tensor* bias = find(tensors, down + ".bias")) layer_bias = decode(*bias);
  if (mean_of_unchosen) add_means(block, carving, out, layer_bias);
  out.push_back(floats(in_block(block, "ffn_moe.bias"), {std::ssize(layer_bias)}, layer_bias));
  return out;
}

}  // namespace junto
