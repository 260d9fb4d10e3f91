// Row kernels: every instruction set against the exact twin to the bit, and against double arithmetic.
#include "kernels/row_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/softmax.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

using enum ActivationFunction;

constexpr ActivationFunction kFunctions[] = {kSilu, kGeluTanh, kGeluErf, kRelu, kReluSquared, kSigmoid, kTanh};
constexpr std::size_t kCounts[] = {1, 3, 15, 16, 17, 31, 32, 33, 48, 64, 65, 127, 128, 576, 1000};

std::vector<float> random_values(std::size_t count, unsigned seed, float size = 3.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

std::vector<const RowKernels*> simd_tables() {
  std::vector<const RowKernels*> tables;
  for (const Isa isa : available_isas()) {
    if (isa != Isa::kPortable) tables.push_back(&row_kernels(isa));
  }
  return tables;
}

// What `run` writes, as bytes, with NaN made one.
using Output = std::vector<float>;
void expect_same(const std::function<Output(const RowKernels&)>& run, const std::string& what) {
  Output expected = run(row_kernels_twin());
  for (float& value : expected) value = std::isnan(value) ? std::numeric_limits<float>::quiet_NaN() : value;
  for (const RowKernels* table : simd_tables()) {
    Output got = run(*table);
    for (float& value : got) value = std::isnan(value) ? std::numeric_limits<float>::quiet_NaN() : value;
    ASSERT_EQ(got.size(), expected.size());
    ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)), 0) << what;
  }
}

TEST(RowKernels, EveryInstructionSetHasTheBitsOfTheTwin) {
  for (const Isa isa : available_isas()) std::printf("ran on %s\n", std::string(isa_name(isa)).c_str());
  for (const std::size_t n : kCounts) {
    std::vector<float> x = random_values(2 * n, 1), w = random_values(2 * n, 2), b = random_values(2 * n, 3);
    if (n > 16) x[7] = INFINITY, x[8] = -INFINITY, x[9] = NAN, x[10] = 1e-41f, x[11] = -200.0f, x[12] = 95.0f;
    const auto of = [&](auto call) {
      return [&, call](const RowKernels& k) {
        Output out(n + 1, 42.0f);
        call(k, out.data());
        return out;
      };
    };
    const std::string at = " of " + std::to_string(n);
    std::vector<float> finite = random_values(n, 4);
    expect_same(of([&](auto& k, float* out) { k.rms_norm(finite.data(), w.data(), n, 1e-6f, out); }), "rms_norm" + at);
    expect_same(of([&](auto& k, float* out) { k.rms_norm(x.data(), nullptr, n, 1e-6f, out); }), "rms_norm" + at);
    expect_same(of([&](auto& k, float* out) { k.layer_norm(finite.data(), w.data(), b.data(), n, 1e-6f, out); }),
                "layer_norm" + at);
    expect_same(of([&](auto& k, float* out) { k.l2_norm(finite.data(), n, 1e-6f, out); }), "l2_norm" + at);
    for (const ActivationFunction f : kFunctions) {
      expect_same(of([&](auto& k, float* out) { k.activation(f, x.data(), n, out); }), "activation" + at);
      expect_same(of([&](auto& k, float* out) { k.gated(f, x.data(), w.data(), n, out); }), "gated" + at);
    }
    expect_same(of([&](auto& k, float* out) { k.swiglu_clamped(x.data(), w.data(), n, 2.0f, 1.702f, out); }),
                "swiglu_clamped" + at);
    const auto in_place = [&](auto call) {
      return of([&, call](auto& k, float* out) {
        std::memcpy(out, x.data(), n * sizeof(float));
        call(k, out);
      });
    };
    expect_same(in_place([&](auto& k, float* out) { k.softcap(out, n, 30.0f); }), "softcap" + at);
    expect_same(in_place([&](auto& k, float* out) { out[n] = k.exp_in_place(out, n, 1.5f); }), "exp" + at);
    expect_same(of([&](auto& k, float* out) { *out = k.largest(finite.data(), n); }), "largest" + at);
    const std::vector<float> cosines = random_values(n, 5), sines = random_values(n, 6);
    const auto rotated = [&](auto call) {
      return [&, call](const RowKernels& k) {
        Output out(x.begin(), x.end());
        call(k, out.data());
        return out;
      };
    };
    expect_same(rotated([&](auto& k, float* out) { k.rotate_halves(out, cosines.data(), sines.data(), n); }),
                "rotate_halves" + at);
    expect_same(rotated([&](auto& k, float* out) { k.rotate_neighbours(out, cosines.data(), sines.data(), n); }),
                "rotate_neighbours" + at);
    for (const bool bad : {false, true}) {
      expect_same(
          [&](const RowKernels& k) {
            std::vector<Q8Group> groups((n + 255) / 256 * 8);
            k.quantise_q8(bad ? x.data() : finite.data(), n, groups.size(), groups.data());
            Output out;
            for (const Q8Group& group : groups) {
              out.insert(out.end(), {group.scale, static_cast<float>(group.minus_sum), group.scaled_minus_sum});
              out.insert(out.end(), group.quant, group.quant + 32);
              out.insert(out.end(), group.minus_sums16, group.minus_sums16 + 2);
            }
            return out;
          },
          "quantise_q8" + at);
    }
  }
}

TEST(RowKernels, AttentionHasTheBitsOfTheTwin) {
  for (const std::size_t dim : {16u, 31u, 64u, 80u, 100u, 128u, 192u, 512u, 576u}) {
    const std::size_t rows = 37, stride = 4 * dim + 64;
    const std::vector<float> values = random_values(rows * dim, 7), q = random_values(dim, 8),
                             w = random_values(rows, 9);
    using Store = void (*)(const float*, std::size_t, std::byte*);
    struct Kind {
      const char* name;
      std::function<Store(const RowKernels&)> store;
      std::function<RowKernels::DotKeys(const RowKernels&)> dot;
      std::function<RowKernels::AccumulateValues(const RowKernels&)> accumulate;
    };
    const Kind kinds[] = {
        {"f32",
         [](auto&) -> Store {
           return [](const float* x, std::size_t n, std::byte* row) { std::memcpy(row, x, 4 * n); };
         },
         [](auto& k) { return k.dot_keys_f32; }, [](auto& k) { return k.accumulate_f32; }},
        {"f16", [](auto& k) { return k.store_f16; }, [](auto& k) { return k.dot_keys_f16; },
         [](auto& k) { return k.accumulate_f16; }},
        {"q8_0", [](auto& k) { return k.store_q8_0; }, [](auto& k) { return k.dot_keys_q8_0; },
         [](auto& k) { return k.accumulate_q8_0; }},
    };
    for (const Kind& kind : kinds) {
      expect_same(
          [&](const RowKernels& k) {
            std::vector<std::byte> stored(rows * stride);
            for (std::size_t r = 0; r < rows; ++r)
              kind.store(k)(values.data() + r * dim, dim, stored.data() + r * stride);
            Output out(rows + dim, 1.0f);
            kind.dot(k)(q.data(), dim, stored.data(), stride, rows, out.data());
            kind.accumulate(k)(w.data(), rows, stored.data(), stride, dim, out.data() + rows);
            for (const std::byte byte : stored) out.push_back(static_cast<float>(byte));
            return out;
          },
          std::string(kind.name) + " " + std::to_string(dim));
    }
  }
}

TEST(RowKernels, TiledAttentionHasTheBitsOfTheTwinAndOfEachQueryAlone) {
  constexpr int kQueries = 7;
  constexpr std::size_t kCount = 29;
  struct Kind {
    DType type;
    std::function<RowKernels::ScorePage(const RowKernels&)> score;
    std::function<RowKernels::AddValues(const RowKernels&)> add;
  };
  const Kind kinds[] = {
      {DType::kF32, [](auto& k) { return k.score_page_f32; }, [](auto& k) { return k.add_values_f32; }},
      {DType::kF16, [](auto& k) { return k.score_page_f16; }, [](auto& k) { return k.add_values_f16; }},
      {DType::kQ8_0, [](auto& k) { return k.score_page_q8_0; }, [](auto& k) { return k.add_values_q8_0; }},
  };
  for (const std::size_t dim : {8u, 16u, 24u, 40u, 64u, 80u, 100u, 128u}) {
    const std::vector<float> rows = random_values(kPageKeys * dim, 7), q = random_values(kQueries * dim, 8),
                             w = random_values(kQueries * kPageKeys, 9);
    for (const Kind& kind : kinds) {
      const std::size_t stride = 4 * dim + 64;
      std::vector<std::byte> page(kPageKeys * stride), values(kPageKeys * stride);
      for (std::size_t i = 0; i < kPageKeys; ++i) {
        store_page_key({rows.data() + i * dim, dim}, kind.type, page.data(), static_cast<int>(i));
        store_row({rows.data() + i * dim, dim}, kind.type, values.data() + i * stride);
      }
      const auto run = [&](const RowKernels& k, int first, int queries) {
        Output scores(kQueries * kPageKeys), out(kQueries * dim, 0.5f);
        const float *qs[kQueries], *ws[kQueries];
        float *to[kQueries], *sums[kQueries];
        for (int t = 0; t < queries; ++t) {
          const auto at = static_cast<std::size_t>(first + t);
          qs[t] = q.data() + at * dim, ws[t] = w.data() + at * kPageKeys;
          to[t] = scores.data() + at * kPageKeys, sums[t] = out.data() + at * dim;
        }
        kind.score(k)(qs, queries, dim, page.data(), to);
        kind.add(k)(ws, queries, kCount, values.data(), stride, dim, sums);
        scores.insert(scores.end(), out.begin(), out.end());
        return scores;
      };
      const std::string at = std::string(dtype_name(kind.type)) + " " + std::to_string(dim);
      expect_same([&](const RowKernels& k) { return run(k, 0, kQueries); }, at);
      const Output together = run(row_kernels(), 0, kQueries);
      for (int t = 0; t < kQueries; ++t) {
        const Output alone = run(row_kernels(), t, 1);
        const std::size_t score = static_cast<std::size_t>(t) * kPageKeys;
        const std::size_t sum = kQueries * kPageKeys + static_cast<std::size_t>(t) * dim;
        EXPECT_EQ(std::memcmp(&alone[score], &together[score], kPageKeys * sizeof(float)), 0) << at;
        EXPECT_EQ(std::memcmp(&alone[sum], &together[sum], dim * sizeof(float)), 0) << at;
      }
    }
  }
}

double exact(ActivationFunction f, double x) {
  switch (f) {
    case kSilu:
      return x / (1 + std::exp(-x));
    case kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case kGeluErf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case kRelu:
      return std::max(x, 0.0);
    case kReluSquared:
      return x > 0 ? x * x : 0;
    case kSigmoid:
      return 1 / (1 + std::exp(-x));
    case kTanh:
      return std::tanh(x);
  }
  return 0;
}

std::vector<const RowKernels*> all_tables() {
  std::vector<const RowKernels*> tables = simd_tables();
  tables.push_back(&row_kernels(Isa::kPortable));
  return tables;
}

TEST(RowKernels, ActivationsAreThoseOfDoubleArithmetic) {
  std::vector<float> x, out(40001);
  for (int i = -20000; i <= 20000; ++i) x.push_back(static_cast<float>(i) * 0.0005f);
  for (const RowKernels* table : all_tables()) {
    for (const ActivationFunction f : kFunctions) {
      table->activation(f, x.data(), x.size(), out.data());
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double expected = exact(f, x[i]);
        // GELU's tail is a product of small factors, each rounded.
        const double relative = f == kGeluErf ? 6e-6 : f == kGeluTanh ? 4e-6 : 4e-7;
        ASSERT_NEAR(out[i], expected, relative * std::fabs(expected) + 1e-12) << static_cast<int>(f) << " at " << x[i];
      }
    }
  }
}

TEST(RowKernels, ExpIsWithinTwoUnitsInTheLastPlace) {
  std::vector<float> x, out;
  for (int i = -88000; i <= 88700; ++i) x.push_back(static_cast<float>(i) * 0.001f);
  for (const RowKernels* table : all_tables()) {
    out = x;
    table->exp_in_place(out.data(), out.size(), 0);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double expected = std::exp(static_cast<double>(x[i]));
      if (expected < 1.2e-38) continue;
      worst = std::max(worst, std::fabs(out[i] - expected) / (expected * std::exp2(-23)));
    }
    EXPECT_LT(worst, table == &row_kernels(Isa::kPortable) ? 3.0 : 2.0);
    float edges[] = {-INFINITY, -200, -104.5f, -100, 88.73f, 90, INFINITY, NAN};
    table->exp_in_place(edges, 8, 0);
    EXPECT_EQ(edges[0], 0);
    EXPECT_EQ(edges[1], 0);
    EXPECT_EQ(edges[2], 0);
    EXPECT_NEAR(edges[3], std::exp(-100.0), 2e-45);
    EXPECT_EQ(edges[4], INFINITY);
    EXPECT_EQ(edges[5], INFINITY);
    EXPECT_EQ(edges[6], INFINITY);
    EXPECT_TRUE(std::isnan(edges[7]));
  }
}

TEST(RowKernels, AValueHasTheSameBitsWhereverItStands) {
  const std::vector<float> x = random_values(100, 10);
  for (const RowKernels* table : all_tables()) {
    for (const ActivationFunction f : kFunctions) {
      std::vector<float> whole(100), part(100);
      table->activation(f, x.data(), 100, whole.data());
      for (std::size_t begin = 0; begin < 20; ++begin) {
        for (std::size_t count = 1; count < 40; ++count) {
          table->activation(f, x.data() + begin, count, part.data());
          ASSERT_EQ(std::memcmp(part.data(), whole.data() + begin, count * sizeof(float)), 0);
        }
      }
    }
  }
}

TEST(RowKernels, NormsAreThoseOfDoubleArithmetic) {
  for (const RowKernels* table : all_tables()) {
    for (const std::size_t n : kCounts) {
      const std::vector<float> x = random_values(n, 11), w = random_values(n, 12), b = random_values(n, 13);
      double sum = 0, squares = 0, spread = 0;
      for (const float value : x) sum += value, squares += static_cast<double>(value) * value;
      const double count = static_cast<double>(n), mean = sum / count;
      for (const float value : x) spread += (value - mean) * (value - mean);
      std::vector<float> rms(n), layer(n), l2(n);
      table->rms_norm(x.data(), w.data(), n, 1e-5f, rms.data());
      table->layer_norm(x.data(), w.data(), b.data(), n, 1e-5f, layer.data());
      table->l2_norm(x.data(), n, 1e-5f, l2.data());
      for (std::size_t i = 0; i < n; ++i) {
        EXPECT_NEAR(rms[i], x[i] / std::sqrt(squares / count + 1e-5) * w[i], 1e-5);
        EXPECT_NEAR(layer[i], (x[i] - mean) / std::sqrt(spread / count + 1e-5) * w[i] + b[i], 2e-5);
        EXPECT_NEAR(l2[i], x[i] / std::sqrt(squares + 1e-5), 1e-6);
      }
    }
  }
}

TEST(RowKernels, StoredQ8RowsAreThoseOfTheFormat) {
  const std::vector<float> x = random_values(96, 14);
  std::vector<std::byte> expected(bytes_of(DType::kQ8_0, 96)), got(expected.size());
  encode_values(DType::kQ8_0, x, expected.data());
  for (const RowKernels* table : all_tables()) {
    table->store_q8_0(x.data(), 96, got.data());
    EXPECT_EQ(got, expected);
    const float bad[] = {1, INFINITY, 2};
    table->store_q8_0(bad, 3, got.data());
    float back[32];
    decode_values(DType::kQ8_0, got.data(), back);
    EXPECT_TRUE(std::isnan(back[0]));
  }
}

TEST(Softmax, SumsToOneAndMasksMinusInfinity) {
  std::vector<float> x = random_values(77, 15);
  x[5] = -INFINITY;
  std::vector<double> expected(x.begin(), x.end());
  double sum = 0;
  for (double& value : expected) sum += value = std::exp(value);
  softmax(x);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], expected[i] / sum, 1e-7);
  EXPECT_EQ(x[5], 0);
}

TEST(Choose, JuntoIsaNamesAnInstructionSetOfThisCpu) {
  EXPECT_EQ(isa_from_name(""), available_isas().front());
  EXPECT_EQ(isa_from_name("portable"), Isa::kPortable);
  EXPECT_EQ(available_isas().back(), Isa::kPortable);
  EXPECT_THROW(isa_from_name("sse9"), std::exception);
  if (available_isas().front() != Isa::kAvx512) {
    EXPECT_THROW(isa_from_name("avx512"), std::exception);
  }
}

}  // namespace
}  // namespace junto
