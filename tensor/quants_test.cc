// Block formats against other implementations: see scripts/record-quants.py for what is in testdata/quants.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

std::string read_recording(const std::string& name) {
  std::ifstream file(std::string(JUNTO_SOURCE_DIR "/testdata/quants/") + name, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<const BlockFormat*> quantised_formats() {
  std::vector<const BlockFormat*> formats;
  for (const BlockFormat& format : block_formats()) {
    if (format.unpack != nullptr) formats.push_back(&format);
  }
  return formats;
}

TEST(Quants, DecodeToTheBitsOfTheGgufPackage) {
  for (const BlockFormat* format : quantised_formats()) {
    const std::string recording = read_recording(std::string(format->name) + ".bin");
    const std::size_t values = static_cast<std::size_t>(format->block_values);
    const std::size_t blocks = recording.size() / (format->block_bytes + 4 * values);
    ASSERT_GE(blocks, 32u) << format->name;
    ASSERT_EQ(blocks * (format->block_bytes + 4 * values), recording.size()) << format->name;
    std::vector<float> expected(blocks * values), decoded(blocks * values);
    std::memcpy(expected.data(), recording.data() + blocks * format->block_bytes, expected.size() * sizeof(float));
    decode_values(format->type, reinterpret_cast<const std::byte*>(recording.data()), decoded);
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      if (std::isnan(expected[i]) && std::isnan(decoded[i])) continue;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(decoded[i]), std::bit_cast<std::uint32_t>(expected[i]))
          << format->name << " block " << i / values << " value " << i % values;
    }
  }
}

// SplitMix64, number `index` (from 0) after `seed`.
std::uint64_t splitmix(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

double uniform(std::uint64_t seed, std::uint64_t index) {
  return static_cast<double>(splitmix(seed, index) >> 11) / 9007199254740992.0;
}

// The values of record-quants.py: bell-shaped with heavy tails.
float recorded_value(std::uint64_t index) {
  double bell = 0;
  for (const std::uint64_t seed : {1u, 2u}) {
    for (const int shift : {0, 16, 32, 48}) bell += static_cast<double>(splitmix(seed, index) >> shift & 0xFFFF);
  }
  bell = (bell - 4 * 65535.0) / 65536.0;
  const double u2 = uniform(3, index) * uniform(3, index);
  const double u4 = u2 * u2;
  return static_cast<float>(bell * (1 + 3 * (u4 * u4)) * 0.03125);
}

TEST(Quants, EncodeLosesNoMoreThanLlamaCpp) {
  const Json recording = Json::parse(read_recording("round_trip.json"));
  const auto rows = recording.at("rows").get<std::size_t>(), columns = recording.at("columns").get<std::size_t>();
  std::vector<float> values(rows * columns), importance(rows * columns), decoded(rows * columns);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = recorded_value(i);
    const double u = uniform(4, i % columns);
    importance[i] = static_cast<float>(u * u * 4 + 0.0625);
  }
  for (const BlockFormat* format : quantised_formats()) {
    for (const bool weighted : {false, true}) {
      std::vector<std::byte> bytes(bytes_of(format->type, static_cast<std::int64_t>(values.size())));
      encode_values(format->type, values, bytes.data(),
                    weighted ? std::span<const float>(importance) : std::span<const float>());
      decode_values(format->type, bytes.data(), decoded);
      double squares = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double miss = static_cast<double>(decoded[i]) - values[i];
        squares += (weighted ? importance[i] : 1.0) * miss * miss;
      }
      const auto& theirs = recording.at(weighted ? "weighted_squared_error" : "squared_error");
      const double ratio = std::sqrt(squares / theirs.at(std::string(format->name)).get<double>());
      std::printf("%-7s %s error %.4f of llama.cpp's\n", format->name.data(), weighted ? "weighted" : "plain   ",
                  ratio);
      EXPECT_LE(ratio, 1.02) << format->name << (weighted ? " weighted" : "");
    }
  }
}

}  // namespace
}  // namespace junto
