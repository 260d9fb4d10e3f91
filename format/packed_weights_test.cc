#include "format/packed_weights.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <thread>

#include "format/checkpoint.h"
#include "format/safetensors.h"
#include "format/test_directory.h"

namespace junto {
namespace {

const std::string kFixtures = JUNTO_SOURCE_DIR "/testdata/format/";

// Values of a kMXFP4 tensor by the definition of the format, apart from any kernel.
std::vector<float> mxfp4_values(const Tensor& tensor) {
  constexpr std::array<float, 8> kMagnitudes = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  std::vector<float> values;
  for (std::size_t b = 0; b < tensor.bytes.size(); b += 17) {
    const int exponent = std::to_integer<int>(tensor.bytes[b]) - 127;
    for (std::size_t i = 0; i < 32; ++i) {
      const unsigned byte = std::to_integer<unsigned>(tensor.bytes[b + 1 + i % 16]);
      const unsigned code = i < 16 ? byte & 15 : byte >> 4;
      values.push_back(std::ldexp(code & 8 ? -kMagnitudes[code & 7] : kMagnitudes[code & 7], exponent));
    }
  }
  return values;
}

TEST(PackedWeights, Fp8BlocksAreTheReferencesBf16) {
  const Checkpoint checkpoint = open_checkpoint(kFixtures + "fp8");
  const SafetensorsFile expected = open_safetensors(kFixtures + "fp8-expected.safetensors");
  ASSERT_EQ(checkpoint.listing().size(), expected.tensors.size());
  for (const NamedTensor& reference : expected.tensors.all()) {
    const Tensor& tensor = checkpoint.require(reference.name, reference.tensor.shape);
    EXPECT_EQ(tensor.type, reference.tensor.type) << reference.name;
    EXPECT_EQ(decode(tensor), decode(reference.tensor)) << reference.name;
  }
}

TEST(PackedWeights, Mxfp4KeepsEveryValue) {
  const Checkpoint checkpoint = open_checkpoint(kFixtures + "mxfp4");
  const SafetensorsFile expected = open_safetensors(kFixtures + "mxfp4-expected.safetensors");
  ASSERT_EQ(checkpoint.listing().size(), expected.tensors.size());
  for (const std::string name : {"model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts.down_proj"}) {
    const Tensor& reference = *expected.tensors.find(name);
    const Tensor& tensor = checkpoint.require(name, reference.shape);
    EXPECT_EQ(tensor.type, DType::kMXFP4);
    EXPECT_EQ(mxfp4_values(tensor), decode(reference)) << name;
    EXPECT_EQ(decode(tensor), decode(reference)) << name;
  }
  EXPECT_NE(checkpoint.find("model.norm.weight"), nullptr);
}

class PackedWeightsTest : public ::testing::Test {
 protected:
  // Zeros of `type`.
  void add(const std::string& name, DType type, Shape shape) {
    Tensor tensor{type, std::move(shape), {}, nullptr};
    tensor.bytes = std::span(zeros_).first(bytes_of(type, tensor.values()));
    stored_.add(name, tensor);
  }
  std::string unpacking(const std::string& quantization) const {
    return error_of([&] { unpack_weights(stored_, config(quantization), "m"); });
  }
  static Json config(const std::string& quantization) {
    return parse_json("{\"quantization_config\": " + quantization + "}", "config.json");
  }

  const std::string fp8_ = R"({"quant_method": "fp8", "weight_block_size": [2, 2]})";
  const std::string mxfp4_ = R"({"quant_method": "mxfp4"})";
  const std::vector<std::byte> zeros_ = std::vector<std::byte>(4096);
  NamedTensors stored_;
};

TEST_F(PackedWeightsTest, WithoutQuantizationConfigTensorsAreAsStored) {
  add("w", DType::kF8E4M3, {2, 2});
  add("w_scale_inv", DType::kF32, {1, 1});
  EXPECT_EQ(unpack_weights(stored_, Json::object(), "m").listing().size(), 2u);
  EXPECT_EQ(unpack_weights(stored_, config("null"), "m").listing().size(), 2u);
}

TEST_F(PackedWeightsTest, QuantizationInsideTextConfigCounts) {
  add("w", DType::kF8E4M3, {2, 2});
  add("w_scale_inv", DType::kF32, {1, 1});
  const Json nested = {{"text_config", config(fp8_)}};
  EXPECT_EQ(unpack_weights(stored_, nested, "m").listing().size(), 1u);
}

TEST_F(PackedWeightsTest, OtherMethodsAreRefusedByName) {
  EXPECT_EQ(unpacking(R"({"quant_method": "awq"})"),
            "m: quantization_config: quant_method is \"awq\", expected \"fp8\" or \"mxfp4\"");
  EXPECT_EQ(unpacking("{}"), "m: quantization_config: quant_method is missing, expected \"fp8\" or \"mxfp4\"");
  EXPECT_EQ(unpacking("[]"), "m: quantization_config: is array, expected an object");
  for (const std::string size : {"[0, 2]", "[2]", "[2, -1]", "[2, 1.5]", "128", "[\"2\", 2]", "[2, 99999999]"}) {
    const std::string message = unpacking(R"({"quant_method": "fp8", "weight_block_size": )" + size + "}");
    EXPECT_TRUE(message.starts_with("m: quantization_config: weight_block_size is ")) << message;
  }
}

TEST_F(PackedWeightsTest, Fp8PairsMustFit) {
  add("w", DType::kF8E4M3, {4, 5});
  EXPECT_EQ(unpacking(fp8_), "m: tensor \"w\" is f8_e4m3 without a tensor of scales");
  add("w_scale_inv", DType::kF32, {2, 2});
  EXPECT_EQ(unpacking(fp8_), "m: tensor \"w\" of shape [4, 5] has scales of shape [2, 2], expected [2, 3]");
  stored_ = {};
  add("v_scale_inv", DType::kF32, {2, 2});
  EXPECT_EQ(unpacking(fp8_), "m: tensor \"v_scale_inv\" has no tensor v to scale");
  stored_ = {};
  add("w", DType::kBF16, {4, 4});
  add("w_scale_inv", DType::kF32, {2, 2});
  EXPECT_EQ(unpacking(fp8_), "m: tensor \"w\" has scales and type bf16, expected f8_e4m3");
  stored_ = {};
  add("w", DType::kF8E4M3, {4, 4});
  add("w_scale_inv", DType::kI32, {2, 2});
  EXPECT_EQ(unpacking(fp8_), "m: tensor \"w\" has scales of type i32, expected f32, f16 or bf16");
  stored_ = {};
  add("w", DType::kF8E4M3, {4});
  add("w_scale_inv", DType::kF32, {2});
  EXPECT_EQ(unpacking(fp8_), "m: tensor \"w\" has shape [4], expected two dimensions");
}

TEST_F(PackedWeightsTest, Mxfp4PairsMustFit) {
  add("x_blocks", DType::kU8, {2, 3, 16});
  EXPECT_EQ(unpacking(mxfp4_), "m: tensor \"x_blocks\" has no partner x_scales");
  add("x_scales", DType::kU8, {2, 2});
  EXPECT_EQ(unpacking(mxfp4_),
            "m: tensor \"x\" has blocks of shape [2, 3, 16] and scales of shape [2, 2], expected "
            "[..., groups, 16] and [..., groups]");
  stored_ = {};
  add("x_blocks", DType::kF32, {2, 16});
  add("x_scales", DType::kU8, {2});
  EXPECT_EQ(unpacking(mxfp4_), "m: tensor \"x\" has blocks of type f32 and scales of type u8, expected u8 for both");
  stored_ = {};
  add("x", DType::kF32, {2, 16});
  add("x_blocks", DType::kU8, {2, 16});
  add("x_scales", DType::kU8, {2});
  EXPECT_EQ(unpacking(mxfp4_), "m: tensor \"x\" is stored both packed and plain");
}

TEST_F(PackedWeightsTest, EmptyPairsAreLegal) {
  add("w", DType::kF8E4M3, {0, 4});
  add("w_scale_inv", DType::kF32, {0, 2});
  EXPECT_TRUE(unpack_weights(stored_, config(fp8_), "m").find("w")->bytes.empty());
}

TEST(LazyTensors, AreMadeWhenAskedForAndOnce) {
  int made = 0;
  LazyTensors tensors;
  tensors.add("plain", make_tensor({1}, {1}));
  const auto make = [&made] {
    ++made;
    return make_tensor({2}, {2, 3});
  };
  EXPECT_TRUE(tensors.add("lazy", DType::kF32, {2}, make));
  EXPECT_FALSE(tensors.add("lazy", DType::kF32, {2}, make));
  EXPECT_EQ(tensors.listing()[1].tensor.shape, (Shape{2}));
  EXPECT_EQ(tensors.find("absent"), nullptr);
  EXPECT_FALSE(tensors.load("absent").has_value());
  EXPECT_EQ(decode(*tensors.find("plain")), std::vector<float>{1});
  EXPECT_EQ(made, 0);
  EXPECT_EQ(decode(*tensors.load("lazy")), (std::vector<float>{2, 3}));
  EXPECT_EQ(decode(*tensors.load("lazy")), (std::vector<float>{2, 3}));
  EXPECT_EQ(made, 2) << "load() keeps nothing";
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(decode(*tensors.find("lazy")), (std::vector<float>{2, 3})); });
  }
  threads.clear();
  EXPECT_EQ(made, 3);
  EXPECT_EQ(decode(tensors.all()[1].tensor), (std::vector<float>{2, 3}));
  EXPECT_EQ(decode(*tensors.load("lazy")), (std::vector<float>{2, 3}));
  EXPECT_EQ(made, 3);
}

}  // namespace
}  // namespace junto
