#include "format/packed_weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "tensor/half.h"

namespace junto {
namespace {

constexpr std::int64_t kMxfp4Values = 32;
constexpr std::size_t kMxfp4CodeBytes = 16;
constexpr std::size_t kMxfp4BlockBytes = 17;

[[noreturn]] void refuse(std::string_view where, std::string_view name, const std::string& what) {
  fail(where, tensor_label(name) + " " + what);
}

template <class T>
Tensor owned_tensor(DType type, Shape shape, std::vector<T> values) {
  auto owner = std::make_shared<const std::vector<T>>(std::move(values));
  return {type, std::move(shape), std::as_bytes(std::span(*owner)), owner};
}

std::int64_t blocks_over(std::int64_t values, std::int64_t block) {
  return (values + block - 1) / block;
}

// Shape of the scales that codes of `shape` need.
Shape scale_shape(const Shape& shape, ScaleBlock block) {
  Shape scales = shape;
  std::int64_t& rows = scales[scales.size() - 2];
  std::int64_t& cols = scales[scales.size() - 1];
  rows = blocks_over(rows, block.rows);
  cols = blocks_over(cols, block.cols);
  return scales;
}

// Checks a pair and fills in a block that stands for the whole.
ScaleBlock check_fp8(std::string_view where, std::string_view name, const Tensor& codes, const Tensor& scales,
                     ScaleBlock block) {
  if (codes.type != DType::kF8E4M3) {
    refuse(where, name, "has scales and type " + std::string(dtype_name(codes.type)) + ", expected f8_e4m3");
  }
  if (codes.shape.size() < 2) refuse(where, name, "has shape " + to_string(codes.shape) + ", expected two dimensions");
  if (scales.type != DType::kF32 && scales.type != DType::kBF16 && scales.type != DType::kF16) {
    refuse(where, name, "has scales of type " + std::string(dtype_name(scales.type)) + ", expected f32, f16 or bf16");
  }
  if (block.rows == 0 || scales.values() == 1) block.rows = std::max<std::int64_t>(codes.shape.end()[-2], 1);
  if (block.cols == 0 || scales.values() == 1) block.cols = std::max<std::int64_t>(codes.shape.end()[-1], 1);
  const Shape expected = scale_shape(codes.shape, block);
  const bool single = scales.values() == 1 && codes.shape.size() == 2;
  if (!single && scales.shape != expected) {
    refuse(where, name,
           "of shape " + to_string(codes.shape) + " has scales of shape " + to_string(scales.shape) + ", expected " +
               to_string(expected));
  }
  return block;
}

Shape check_mxfp4(std::string_view where, std::string_view name, const Tensor& blocks, const Tensor& scales) {
  if (blocks.type != DType::kU8 || scales.type != DType::kU8) {
    refuse(where, name,
           "has blocks of type " + std::string(dtype_name(blocks.type)) + " and scales of type " +
               std::string(dtype_name(scales.type)) + ", expected u8 for both");
  }
  Shape expected = scales.shape;
  expected.push_back(kMxfp4CodeBytes);
  if (scales.shape.empty() || blocks.shape != expected) {
    refuse(where, name,
           "has blocks of shape " + to_string(blocks.shape) + " and scales of shape " + to_string(scales.shape) +
               ", expected [..., groups, 16] and [..., groups]");
  }
  Shape shape = scales.shape;
  shape.back() *= kMxfp4Values;  // no overflow: 16 bytes of each group exist
  return shape;
}

struct Quantization {
  enum class Method { kNone, kFp8, kMxfp4 } method = Method::kNone;
  ScaleBlock block;
};

ScaleBlock parse_block(const Json& quantization, const std::string& where) {
  const auto found = quantization.find("weight_block_size");
  if (found == quantization.end() || found->is_null()) return {};
  const auto valid = [](const Json& size) {
    return size.is_number_unsigned() && size.get<std::uint64_t>() >= 1 && size.get<std::uint64_t>() <= 1 << 20;
  };
  if (!found->is_array() || found->size() != 2 || !valid((*found)[0]) || !valid((*found)[1])) {
    fail(where, "weight_block_size is " + printable(found->dump(-1, ' ', true, Json::error_handler_t::replace)) +
                    ", expected two numbers in 1..1048576");
  }
  return {(*found)[0].get<std::int64_t>(), (*found)[1].get<std::int64_t>()};
}

Quantization parse_quantization(const Json& config, const std::string& file) {
  const Json* quantization = nullptr;
  const auto look_in = [&](const Json& object) {
    if (!object.is_object() || quantization) return;
    const auto found = object.find("quantization_config");
    if (found != object.end() && !found->is_null()) quantization = &*found;
  };
  look_in(config);
  if (config.is_object() && config.contains("text_config")) look_in(config["text_config"]);
  if (!quantization) return {};
  const std::string where = file + ": quantization_config";
  if (!quantization->is_object()) fail(where, std::string("is ") + quantization->type_name() + ", expected an object");
  const auto method = quantization->find("quant_method");
  if (method == quantization->end() || !method->is_string()) {
    fail(where, "quant_method is missing, expected \"fp8\" or \"mxfp4\"");
  }
  const std::string& name = method->get_ref<const std::string&>();
  if (name == "mxfp4") return {Quantization::Method::kMxfp4, {}};
  if (name == "fp8") return {Quantization::Method::kFp8, parse_block(*quantization, where)};
  fail(where, "quant_method is \"" + printable(name) + "\", expected \"fp8\" or \"mxfp4\"");
}

bool strip(std::string_view& name, std::string_view suffix) {
  if (!name.ends_with(suffix) || name.size() == suffix.size()) return false;
  name.remove_suffix(suffix.size());
  return true;
}

void add_unpacked(LazyTensors& tensors, std::string_view name, DType type, const Shape& shape,
                  std::function<Tensor()> make, const std::string& where) {
  if (!tensors.add(std::string(name), type, shape, std::move(make))) {
    refuse(where, name, "is stored both packed and plain");
  }
}

void add_fp8(LazyTensors& tensors, const NamedTensors& stored, const NamedTensor& entry, ScaleBlock block,
             const std::string& where) {
  std::string_view plain = entry.name;
  if (strip(plain, "_scale_inv")) {
    if (!stored.find(plain)) refuse(where, entry.name, "has no tensor " + printable(plain) + " to scale");
    return;
  }
  const Tensor* scales = stored.find(entry.name + "_scale_inv");
  if (!scales) {
    if (entry.tensor.type == DType::kF8E4M3) refuse(where, entry.name, "is f8_e4m3 without a tensor of scales");
    tensors.add(entry.name, entry.tensor);
    return;
  }
  const ScaleBlock checked = check_fp8(where, entry.name, entry.tensor, *scales, block);
  add_unpacked(
      tensors, entry.name, DType::kBF16, entry.tensor.shape,
      [where, name = entry.name, codes = entry.tensor, scales = *scales, checked] {
        return decode_fp8_blocks(where, name, codes, scales, checked);
      },
      where);
}

void add_mxfp4(LazyTensors& tensors, const NamedTensors& stored, const NamedTensor& entry, const std::string& where) {
  std::string_view plain = entry.name;
  if (strip(plain, "_scales") && stored.find(std::string(plain) + "_blocks")) return;  // comes with its blocks
  plain = entry.name;
  if (!strip(plain, "_blocks")) {
    if (!tensors.add(entry.name, entry.tensor)) refuse(where, entry.name, "is stored both packed and plain");
    return;
  }
  const Tensor* scales = stored.find(std::string(plain) + "_scales");
  if (!scales) refuse(where, entry.name, "has no partner " + printable(plain) + "_scales");
  add_unpacked(
      tensors, plain, DType::kMXFP4, check_mxfp4(where, plain, entry.tensor, *scales),
      [where, name = std::string(plain), blocks = entry.tensor, scales = *scales] {
        return repack_mxfp4(where, name, blocks, scales);
      },
      where);
}

}  // namespace

Tensor decode_fp8_blocks(std::string_view where, std::string_view name, const Tensor& codes, const Tensor& scales,
                         ScaleBlock block) {
  block = check_fp8(where, name, codes, scales, block);
  const std::vector<float> factors = decode(scales);
  std::array<float, 256> values;
  for (std::size_t code = 0; code < values.size(); ++code)
    values[code] = f8e4m3_to_float(static_cast<std::uint8_t>(code));

  const std::int64_t rows = codes.shape.end()[-2];
  const std::int64_t cols = codes.cols();
  const std::int64_t grid_rows = blocks_over(rows, block.rows);
  const std::int64_t grid_cols = blocks_over(cols, block.cols);
  std::vector<std::uint16_t> out(static_cast<std::size_t>(codes.values()));
  const auto* code = reinterpret_cast<const std::uint8_t*>(codes.bytes.data());
  std::uint16_t* value = out.data();
  for (std::int64_t row = 0; row < codes.rows(); ++row) {
    const std::int64_t grid_row = row / rows * grid_rows + row % rows / block.rows;
    const float* factor = factors.data() + grid_row * grid_cols;
    for (std::int64_t begin = 0; begin < cols; begin += block.cols, ++factor) {
      const std::int64_t count = std::min(block.cols, cols - begin);
      for (std::int64_t i = 0; i < count; ++i) *value++ = float_to_bf16(values[*code++] * *factor);
    }
  }
  return owned_tensor(DType::kBF16, codes.shape, std::move(out));
}

Tensor repack_mxfp4(std::string_view where, std::string_view name, const Tensor& blocks, const Tensor& scales) {
  Shape shape = check_mxfp4(where, name, blocks, scales);
  const std::size_t count = scales.bytes.size();
  std::vector<std::uint8_t> out(count * kMxfp4BlockBytes);
  const auto* in = reinterpret_cast<const std::uint8_t*>(blocks.bytes.data());
  for (std::size_t b = 0; b < count; ++b, in += kMxfp4CodeBytes) {
    std::uint8_t* block = out.data() + b * kMxfp4BlockBytes;
    block[0] = static_cast<std::uint8_t>(scales.bytes[b]);
    // Value 2j is the low and 2j + 1 the high half of in[j]; out: value j low, value j + 16 high.
    for (std::size_t j = 0; j < kMxfp4CodeBytes / 2; ++j) {
      const std::uint8_t first = in[j];
      const std::uint8_t second = in[j + kMxfp4CodeBytes / 2];
      block[1 + 2 * j] = static_cast<std::uint8_t>((first & 0x0f) | (second & 0x0f) << 4);
      block[2 + 2 * j] = static_cast<std::uint8_t>(first >> 4 | (second & 0xf0));
    }
  }
  return owned_tensor(DType::kMXFP4, std::move(shape), std::move(out));
}

LazyTensors unpack_weights(const NamedTensors& stored, const Json& config, const std::string& where) {
  const Quantization quantization = parse_quantization(config, where);
  LazyTensors tensors;
  for (const NamedTensor& entry : stored.all()) {
    switch (quantization.method) {
      case Quantization::Method::kNone:
        tensors.add(entry.name, entry.tensor);
        break;
      case Quantization::Method::kFp8:
        add_fp8(tensors, stored, entry, quantization.block, where);
        break;
      case Quantization::Method::kMxfp4:
        add_mxfp4(tensors, stored, entry, where);
        break;
    }
  }
  return tensors;
}

}  // namespace junto
