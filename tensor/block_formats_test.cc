#include "tensor/block_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

std::vector<float> round_trip(DType type, const std::vector<float>& values) {
  std::vector<std::byte> bytes(bytes_of(type, static_cast<std::int64_t>(values.size())));
  encode_values(type, values, bytes.data());
  std::vector<float> out(values.size());
  decode_values(type, bytes.data(), out);
  return out;
}

std::vector<DType> quantised_types() {
  std::vector<DType> types;
  for (const BlockFormat& format : block_formats()) {
    if (format.unpack != nullptr) types.push_back(format.type);
  }
  return types;
}

TEST(BlockFormats, ZerosComeBackAsZeros) {
  const std::vector<float> zeros(256);
  for (const DType type : quantised_types()) EXPECT_EQ(round_trip(type, zeros), zeros) << dtype_name(type);
}

TEST(BlockFormats, RoundTripOfNormalValuesLosesLittle) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(256 * 64);
  for (float& value : values) value = 0.02f * normal(generator);
  for (const BlockFormat& format : block_formats()) {
    if (format.unpack == nullptr) continue;
    const std::vector<float> back = round_trip(format.type, values);
    double miss = 0, size = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      miss += std::pow(back[i] - values[i], 2);
      size += std::pow(values[i], 2);
    }
    // 6 dB a bit: about 0.5 % at 8.5 bits, and each bit less doubles it.
    const double bits = 8.0 * static_cast<double>(format.block_bytes) / static_cast<double>(format.block_values);
    EXPECT_LT(std::sqrt(miss / size), 0.0065 * std::exp2(8.5 - bits)) << format.name;
  }
}

TEST(BlockFormats, AnyFiniteValuesGiveFiniteOnesBack) {
  const float extremes[] = {0.0f, -0.0f, 1e-45f, -1e-39f, 1e-30f, 1e-8f, -1.0f, 65504.0f, -1e9f, 3e38f, -3e38f};
  std::mt19937 generator(2);
  for (const DType type : quantised_types()) {
    for (int trial = 0; trial < 200; ++trial) {
      std::vector<float> values(256);
      for (float& value : values) value = extremes[generator() % (1 + static_cast<unsigned>(trial) % 11)];
      for (const float value : round_trip(type, values)) ASSERT_TRUE(std::isfinite(value)) << dtype_name(type);
    }
  }
}

TEST(BlockFormats, RefusesWhatItCannotEncode) {
  std::vector<float> values(256);
  std::vector<std::byte> bytes(2048);
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    values[200] = bad;
    for (const DType type : quantised_types()) EXPECT_THROW(encode_values(type, values, bytes.data()), Error);
  }
  values[200] = 0;
  EXPECT_THROW(encode_values(DType::kQ4_0, std::span(values).first(31), bytes.data()), Error);
  EXPECT_THROW(encode_values(DType::kI32, values, bytes.data()), Error);
  EXPECT_THROW(encode_values(DType::kQ4_0, values, bytes.data(), std::span(values).first(32)), Error);
}

TEST(BlockFormats, ImportantValuesLoseLess) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(256 * 16), importance(256 * 16, 0.01f);
  for (float& value : values) value = normal(generator);
  for (std::size_t i = 0; i < values.size(); i += 5) importance[i] = 10.0f;
  for (const DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ4_K, DType::kQ6_K}) {
    std::vector<std::byte> bytes(bytes_of(type, static_cast<std::int64_t>(values.size())));
    double miss[2] = {};
    for (const bool weighted : {false, true}) {
      encode_values(type, values, bytes.data(),
                    weighted ? std::span<const float>(importance) : std::span<const float>());
      std::vector<float> back(values.size());
      decode_values(type, bytes.data(), back);
      for (std::size_t i = 0; i < values.size(); i += 5) miss[weighted] += std::pow(back[i] - values[i], 2);
    }
    EXPECT_LT(miss[true], 0.9 * miss[false]) << dtype_name(type);
  }
}

}  // namespace
}  // namespace junto
