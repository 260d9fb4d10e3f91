#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "kernels/choose.h"
#include "kernels/interleave.h"
#include "kernels/matmul_kernels.h"
#include "kernels/matmul_twin.h"
#include "kernels/test_values.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

WeightMatrix random_weights(DType type, std::int64_t rows, std::int64_t cols, unsigned seed) {
  const std::vector<float> values = random_values(static_cast<std::size_t>(rows * cols), seed);
  auto bytes = std::make_shared<std::vector<std::byte>>(bytes_of(type, rows * cols));
  encode_values(type, values, bytes->data());
  return make_weights({type, {rows, cols}, *bytes, bytes});
}

// Any bytes at all, and every other row with numbers that stay finite.
WeightMatrix wild_weights(DType type, std::int64_t rows, std::int64_t cols, unsigned seed) {
  const WeightMatrix tame = random_weights(type, rows, cols, seed);
  auto bytes = std::make_shared<std::vector<std::byte>>(tame.data, tame.data + tame.bytes());
  std::mt19937 generator(seed);
  for (std::int64_t r = 1; r < rows; r += 2) {
    for (std::size_t i = 0; i < tame.row_bytes; ++i) {
      (*bytes)[static_cast<std::size_t>(r) * tame.row_bytes + i] = static_cast<std::byte>(generator());
    }
  }
  return make_weights({type, {rows, cols}, *bytes, bytes});
}

// All instruction sets of this CPU, the portable one as an empty table.
std::vector<Isa> isas() {
  return {available_isas().begin(), available_isas().end()};
}

WeightMatrix interleaved(const WeightMatrix& w) {
  ThreadPool pool(1);
  return interleave(w, pool);
}

std::vector<WeightMatrix> layouts_of(const WeightMatrix& stored) {
  if (unit_layout(stored.type) == nullptr) return {stored};
  return {stored, interleaved(stored)};
}

std::vector<DType> weight_types() {
  std::vector<DType> types;
  for (const BlockFormat& format : block_formats()) {
    if (format.encode != nullptr) types.push_back(format.type);
  }
  return types;
}

// Relative difference of `out` from the double product of what the kernel was given.
double error_of(const WeightMatrix& w, const ActivationRows& x, MatrixView<const float> out) {
  std::vector<float> row(static_cast<std::size_t>(w.cols));
  double miss = 0, size = 0;
  for (std::int64_t n = 0; n < w.rows; ++n) {
    decode_values(w.type, w.data + static_cast<std::size_t>(n) * w.row_bytes, row);
    for (std::int64_t m = 0; m < x.rows(); ++m) {
      double sum = 0;
      for (std::int64_t k = 0; k < w.cols; ++k) {
        const bool q8 = x.has_q8() && is_quantised(w.type);
        const double value = q8 ? static_cast<double>(x.q8(m)[k / 32].scale) * x.q8(m)[k / 32].quant[k % 32]
                                : static_cast<double>(x.floats().at(m, k));
        sum += value * row[static_cast<std::size_t>(k)];
      }
      miss += (out.at(m, n) - sum) * (out.at(m, n) - sum);
      size += sum * sum;
    }
  }
  return std::sqrt(miss / size);
}

TEST(Matmul, EveryTypeAgreesWithTheProductOfDecodedValues) {
  for (const Isa isa : isas()) std::printf("ran on %s\n", std::string(isa_name(isa)).c_str());
  const std::vector<float> values = random_values(5 * 768, 2);
  for (const DType type : weight_types()) {
    const WeightMatrix stored = random_weights(type, 37, 768, 1);
    const std::vector<WeightMatrix> layouts = layouts_of(stored);
    for (const Isa isa : isas()) {
      for (const WeightMatrix& w : layouts) {
        ActivationRows x;
        x.assign({values.data(), 5, 768});
        Matrix<float> out(5, 37);
        for (const bool q8 : {false, true}) {
          if (q8) x.quantise_all();
          matmul_with(matmul_kernels(isa), w, {0, 37}, x, {}, out.view(), {});
          EXPECT_LT(error_of(stored, x, out.view()), 1e-6)
              << dtype_name(type) << (q8 ? " q8 " : " f32 ") << isa_name(isa);
        }
      }
    }
  }
}

// Row invariance, over instruction sets, types, activations, and both layouts, which must also agree with each other.
TEST(Matmul, ARowsBitsDependOnNothingElse) {
  constexpr std::int64_t kCols = 1280, kRows = 70, kInputs = 37;
  const std::vector<float> values = random_values(kInputs * kCols, 4);
  for (const Isa isa : isas()) {
    for (const DType type : weight_types()) {
      const WeightMatrix stored = random_weights(type, kRows, kCols, 3);
      const std::vector<WeightMatrix> layouts = layouts_of(stored);
      ActivationRows x;
      x.assign({values.data(), kInputs, kCols});
      for (const bool q8 : {false, true}) {
        if (q8 && !is_quantised(type)) continue;
        if (q8) x.quantise_all();
        Matrix<float> whole(kInputs, kRows), part(40, kRows);
        matmul_with(matmul_kernels(isa), stored, {0, kRows}, x, {}, whole.view(), {});
        std::mt19937 generator(5);
        for (int trial = 0; trial < 24; ++trial) {
          RowRange range{static_cast<std::int64_t>(generator() % kRows), kRows};
          range.end = range.begin + 1 + static_cast<std::int64_t>(generator()) % (kRows - range.begin);
          std::vector<std::int32_t> from, to;
          const int wanted = 1 + trial;  // every tile size and several tiles
          for (int i = 0; i < wanted; ++i) {
            from.push_back(static_cast<std::int32_t>(generator() % kInputs));
            to.push_back(39 - i);
          }
          const WeightMatrix& w = layouts[static_cast<std::size_t>(trial) % layouts.size()];
          matmul_with(matmul_kernels(isa), w, range, x, from, part.view(), to);
          for (std::size_t i = 0; i < from.size(); ++i) {
            ASSERT_EQ(std::memcmp(&whole.view().at(from[i], range.begin), &part.view().at(to[i], range.begin),
                                  static_cast<std::size_t>(range.end - range.begin) * sizeof(float)),
                      0)
                << dtype_name(type) << " " << isa_name(isa) << (q8 ? " q8" : " f32") << " trial " << trial;
          }
        }
      }
    }
  }
}

// What a kernel adds for `count` rows of x, with NaN made one.
std::vector<float> run_kernel(const MatmulKernel& kernel, const WeightMatrix& w, const ActivationRows& x, int count) {
  std::vector<float> sums(static_cast<std::size_t>(16 * count), 0.5f);
  const Q8Group* groups[8];
  const float* floats[8];
  for (int t = 0; t < count; ++t) groups[t] = x.q8(t), floats[t] = &x.floats().at(t, 0);
  if (kernel.q8 != nullptr) {
    kernel.q8(w.data, w.cols / 32, groups, count, sums.data());
  } else {
    kernel.floats(w.data, w.cols, floats, count, sums.data());
  }
  for (float& sum : sums) sum = std::isnan(sum) ? std::numeric_limits<float>::quiet_NaN() : sum;
  return sums;
}

TEST(MatmulKernels, EveryInstructionSetHasTheBitsOfTheTwinOnAnyBytes) {
  for (const MatmulKernel& twin : kMatmulTwin) {
    const std::int64_t cols = 512 + block_values(twin.type) % 256;  // an odd number of blocks where units hold several
    const WeightMatrix w = interleaved(wild_weights(twin.type, 16, cols, 11));
    std::vector<float> values = random_values(static_cast<std::size_t>(3 * cols), 12);
    for (std::int64_t k = 0; k < cols; ++k) values[static_cast<std::size_t>(cols + k)] = k % 2 == 0 ? 1.0f : -1.0f;
    ActivationRows x;
    x.assign({values.data(), 3, cols});
    x.quantise_all();
    for (const Isa isa : isas()) {
      const MatmulKernel* kernel = find_kernel(matmul_kernels(isa), twin.type);
      ASSERT_EQ(kernel == nullptr, isa == Isa::kPortable) << dtype_name(twin.type);
      if (kernel == nullptr) continue;
      for (int count = 1; count <= 3; ++count) {
        const std::vector<float> expected = run_kernel(twin, w, x, count), got = run_kernel(*kernel, w, x, count);
        ASSERT_EQ(std::memcmp(expected.data(), got.data(), got.size() * sizeof(float)), 0)
            << dtype_name(twin.type) << " " << isa_name(isa) << " " << count;
      }
    }
  }
}

// The largest integer sums that a format can have: all quants at an end of their range, all activations +-127.
TEST(MatmulKernels, ExtremeQuantsDoNotSaturate) {
  constexpr std::int64_t kCols = 512;
  for (const BlockFormat& format : block_formats()) {
    if (format.unpack == nullptr) continue;
    for (const int fill : {0x00, 0x11, 0x7f, 0x80, 0xee, 0xff}) {
      WeightMatrix w = random_weights(format.type, 16, kCols, 13);
      auto bytes = std::make_shared<std::vector<std::byte>>(w.data, w.data + w.bytes());
      // Take the quants of a block whose bytes are all `fill`, but keep scales finite: F16 0x00.. to 0x80.. are.
      for (std::byte& byte : *bytes) byte = static_cast<std::byte>(fill);
      w.data = bytes->data();
      std::vector<float> row(kCols);
      decode_row(w, 0, row);
      if (!std::isfinite(row[0])) {  // 0x7f, 0xff in a scale are NaN: use another for the scale, keep the quants
        UnpackedBlock unpacked;
        std::vector<std::byte> block(format.block_bytes, static_cast<std::byte>(fill));
        const std::size_t halves[] = {0, 2, format.block_bytes - 2, format.block_bytes - 4};
        for (const std::size_t at : halves) {
          std::vector<std::byte> tried = block;
          tried[at] = std::byte{0}, tried[at + 1] = std::byte{0x3c};
          format.unpack(tried.data(), unpacked);
          if (std::isfinite(unpacked.scale[0])) {
            block = tried;
            if (std::isfinite(unpacked.min[0])) break;
          }
        }
        for (std::size_t i = 0; i < bytes->size(); ++i) (*bytes)[i] = block[i % block.size()];
      }
      for (const int pattern : {0, 1, 2}) {
        std::vector<float> values(kCols);
        decode_row(w, 0, row);
        for (std::size_t k = 0; k < values.size(); ++k) {
          values[k] = pattern == 0 ? 1.0f : pattern == 1 ? -1.0f : row[k] < 0 ? -1.0f : 1.0f;
        }
        ActivationRows x;
        x.assign({values.data(), 1, kCols});
        x.quantise_all();
        double expected = 0, size = 0;
        for (std::size_t k = 0; k < values.size(); ++k) {
          expected += static_cast<double>(row[k]) * values[k], size += std::fabs(static_cast<double>(row[k]));
        }
        for (const Isa isa : isas()) {
          Matrix<float> out(1, 16);
          matmul_with(matmul_kernels(isa), w, {0, 16}, x, {}, out.view(), {});
          if (!std::isfinite(expected)) continue;
          EXPECT_NEAR(out.view().at(0, 3), expected, 2e-6 * size + 1e-30)
              << format.name << " fill " << fill << " " << isa_name(isa) << " pattern " << pattern;
        }
      }
    }
  }
}

TEST(Interleave, CanBeUndone) {
  for (const DType type : weight_types()) {
    if (unit_layout(type) == nullptr) continue;
    const std::int64_t block = block_values(type);
    for (const std::int64_t rows : {1, 16, 19, 48}) {
      const std::int64_t cols = 3 * std::max<std::int64_t>(block, 7);
      const WeightMatrix w = wild_weights(type, rows, cols, 17), both = interleaved(w);
      EXPECT_EQ(both.bytes(), interleaved_bytes(w));
      std::vector<std::byte> bytes(block_bytes(type));
      const std::size_t group_bytes = interleaved_group_bytes(type, cols);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t b = 0; b < cols / block; ++b) {
          deinterleave_block(*unit_layout(type), both.data + static_cast<std::size_t>(r / 16) * group_bytes, r % 16, b,
                             bytes.data());
          const std::byte* expected =
              w.data + static_cast<std::size_t>(r) * w.row_bytes + static_cast<std::size_t>(b) * bytes.size();
          ASSERT_EQ(std::memcmp(bytes.data(), expected, bytes.size()), 0) << dtype_name(type);
        }
      }
      if (rows == 19) {
        std::vector<float> a(static_cast<std::size_t>(cols)), c(static_cast<std::size_t>(cols));
        decode_row(w, 18, a);
        decode_row(both, 18, c);
        EXPECT_EQ(std::memcmp(a.data(), c.data(), a.size() * sizeof(float)), 0) << dtype_name(type);
      }
    }
  }
}

TEST(Interleave, InPlaceGivesTheSameBytes) {
  int in_place = 0;
  for (const DType type : weight_types()) {
    if (unit_layout(type) == nullptr) continue;
    const std::int64_t cols = 4 * std::max<std::int64_t>(block_values(type), 7);
    EXPECT_FALSE(interleaves_in_place(wild_weights(type, 19, cols, 17))) << dtype_name(type);
    const WeightMatrix w = wild_weights(type, 48, cols, 17), expected = interleaved(w);
    if (!interleaves_in_place(w)) continue;
    ++in_place;
    std::vector<std::byte> bytes(w.data, w.data + w.bytes());
    interleave_in_place(w, bytes.data());
    ASSERT_EQ(bytes.size(), expected.bytes());
    EXPECT_EQ(std::memcmp(bytes.data(), expected.data, bytes.size()), 0) << dtype_name(type);
  }
  EXPECT_GE(in_place, 8);
}

TEST(Interleave, TakesFewMoreBytesThanTheFormat) {
  for (const DType type : weight_types()) {
    if (unit_layout(type) == nullptr) continue;
    const WeightMatrix w = random_weights(type, 64, 1024, 18);
    EXPECT_LE(static_cast<double>(interleaved_bytes(w)), 1.02 * static_cast<double>(w.bytes())) << dtype_name(type);
  }
}

TEST(Interleave, LargeAllocationsBeginOnALargePageWhateverCameBefore) {
  std::vector<std::shared_ptr<std::byte>> all;
  for (const std::size_t bytes : {64u, 100u, 2u << 20, 70u, 3u << 20, 1u << 20}) {
    all.push_back(allocate_weights(bytes));
    const std::size_t alignment = bytes >= 2u << 20 ? std::size_t{2} << 20 : 64;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(all.back().get()) % alignment, 0u) << bytes;
  }
}

TEST(Interleave, RefusesWhatHasNoLayoutOrAlignment) {
  alignas(64) std::byte bytes[128];
  EXPECT_THROW(interleaved_group_bytes(DType::kF8E4M3, 32), Error);
  EXPECT_THROW(interleaved_weights(DType::kF32, 1, 1, bytes + 4, nullptr), Error);
  EXPECT_NO_THROW(interleaved_weights(DType::kF32, 1, 1, bytes, nullptr));
}

TEST(Matmul, FloatWeightsTakeAnyWidth) {
  for (const std::int64_t cols : {1, 7, 33, 300}) {
    const WeightMatrix w = random_weights(DType::kF32, 5, cols, 6);
    const std::vector<float> values = random_values(static_cast<std::size_t>(3 * cols), 7);
    ActivationRows x;
    x.assign({values.data(), 3, cols});
    Matrix<float> out(3, 5);
    matmul(w, {0, 5}, x, {}, out.view(), {});
    EXPECT_LT(error_of(w, x, out.view()), 1e-6) << cols;
  }
}

TEST(Pieces, CoverAllGroupsInSharesThatBeginLong) {
  for (const int threads : {1, 2, 3, 8}) {
    for (const std::int64_t groups : {0, 1, 2, 7, 64, 1000}) {
      for (const std::size_t group_bytes : {std::size_t{0}, std::size_t{1000}, std::size_t{20000}}) {
        const Pieces pieces(group_bytes * static_cast<std::size_t>(groups), groups, threads);
        std::int64_t at = 0;
        for (std::int64_t i = 0; i < pieces.count(); ++i) {
          ASSERT_EQ(pieces.begin(i), at);
          ASSERT_GT(pieces.begin(i + 1), at) << "piece " << i << " of " << groups << " groups is empty";
          at = pieces.begin(i + 1);
        }
        EXPECT_EQ(at, groups);
      }
    }
  }
}

TEST(Pieces, HalveUntilClaimingThemWouldCount) {
  const Pieces pieces(1024 << 10, 64, 2);  // groups of 16 KiB
  std::vector<std::int64_t> sizes;
  for (std::int64_t i = 0; i < pieces.count(); ++i) sizes.push_back(pieces.begin(i + 1) - pieces.begin(i));
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{16, 8, 4, 2, 2, 16, 8, 4, 2, 2}));
  EXPECT_EQ(Pieces(1024 << 10, 64, 1).count(), 1);
}

TEST(Matmul, RefusesWhatIsNoMatrixOfNumbers) {
  EXPECT_THROW(make_weights(make_tensor({4}, {1, 2, 3, 4})), Error);
  const std::vector<std::byte> bytes(1024);
  EXPECT_THROW(make_weights({DType::kQ4_0, {2, 48}, bytes, nullptr}), Error);
  EXPECT_THROW(make_weights({DType::kQ4_0, {64, 64}, bytes, nullptr}), Error);
  EXPECT_THROW(make_weights({DType::kI32, {2, 2}, bytes, nullptr}), Error);
}

TEST(ActivationRows, QuantisesPerGroupOf32AndPadsWithZeros) {
  std::vector<float> values = random_values(2 * 40, 8);
  values[3] = 5.0f;
  ActivationRows x;
  x.assign({values.data(), 2, 40});
  x.quantise_all();
  ASSERT_EQ(x.q8_groups_per_row(), 8);
  EXPECT_EQ(x.q8(0)->quant[3], 127);
  EXPECT_FLOAT_EQ(x.q8(0)->scale, 5.0f / 127);
  for (std::int64_t r = 0; r < 2; ++r) {
    for (std::int64_t g = 0; g < 8; ++g) {
      const Q8Group& group = x.q8(r)[g];
      int sums[2] = {};
      for (std::int64_t i = 0; i < 32; ++i) {
        sums[i / 16] += group.quant[i];
        const float value = 32 * g + i < 40 ? values[static_cast<std::size_t>(r * 40 + 32 * g + i)] : 0.0f;
        EXPECT_NEAR(group.scale * group.quant[i], value, 0.501f * group.scale);
      }
      EXPECT_EQ(group.minus_sums16[0], -sums[0]);
      EXPECT_EQ(group.minus_sums16[1], -sums[1]);
      EXPECT_EQ(group.minus_sum, -sums[0] - sums[1]);
      EXPECT_EQ(group.scaled_minus_sum, group.scale * static_cast<float>(group.minus_sum));
    }
    EXPECT_EQ(x.q8(r)[7].scale, 0.0f);
  }
}

TEST(ActivationRows, NonFiniteValuesShowInTheResultAndTinyOnesAreZero) {
  const WeightMatrix w = random_weights(DType::kQ4_0, 3, 64, 9);
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    std::vector<float> values = random_values(2 * 64, 10);
    values[33] = bad;
    ActivationRows x;
    x.assign({values.data(), 2, 64});
    x.quantise_all();
    Matrix<float> out(2, 3);
    matmul(w, {0, 3}, x, {}, out.view(), {});
    EXPECT_TRUE(std::isnan(out.view().at(0, 1)));
    EXPECT_TRUE(std::isfinite(out.view().at(1, 1)));
  }
  const std::vector<float> tiny(64, 1e-40f);
  ActivationRows x;
  x.assign({tiny.data(), 1, 64});
  x.quantise_all();
  EXPECT_EQ(x.q8(0)->scale, 0.0f);
  EXPECT_EQ(x.q8(0)->quant[0], 0);
}

}  // namespace
}  // namespace junto
