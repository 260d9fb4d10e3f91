// Any bytes are a config.json and a shard index, separated by a zero byte, or an Error.
#include <array>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "format/huggingface.h"
#include "format/packed_weights.h"

namespace {

// What the config's quantization is applied to: pairs that fit some configs.
junto::NamedTensors stored_tensors() {
  using junto::DType;
  static const std::array<std::byte, 64> kBytes = {};
  junto::NamedTensors tensors;
  const auto add = [&](const char* name, DType type, junto::Shape shape) {
    junto::Tensor tensor{type, std::move(shape), {}, nullptr};
    tensor.bytes = std::span(kBytes).first(junto::bytes_of(type, tensor.values()));
    tensors.add(name, tensor);
  };
  add("a.weight", DType::kF8E4M3, {3, 5});
  add("a.weight_scale_inv", DType::kF32, {2, 3});
  add("b_blocks", DType::kU8, {1, 2, 16});
  add("b_scales", DType::kU8, {1, 2});
  return tensors;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const junto::NamedTensors kStored = stored_tensors();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  try {
    const junto::Json config = junto::parse_json(input.substr(0, zero), "config.json");
    static_cast<void>(junto::unpack_weights(kStored, config, "fuzz").all());
  } catch (const junto::Error&) {
  }
  try {
    if (zero != input.npos) junto::parse_weight_map(input.substr(zero + 1), "index.json");
  } catch (const junto::Error&) {
  }
  return 0;
}
