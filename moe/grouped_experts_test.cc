#include "moe/grouped_experts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "format/safetensors.h"
#include "kernels/interleave.h"
#include "moe/activate.h"
#include "moe/route.h"
#include "moe/test_random_linear.h"

namespace junto {
namespace {

constexpr std::int64_t kHidden = 64;  // D

ExpertWeights random_expert(DType type, std::int64_t width, Activation activation, std::mt19937& random,
                            bool with_extras = false) {
  ExpertWeights expert;
  expert.activation = activation;
  if (activation.gated) expert.gate = random_linear(type, width, kHidden, random);
  expert.up = random_linear(type, width, kHidden, random);
  expert.down = random_linear(type, kHidden, width, random);
  if (!with_extras) return expert;
  for (Linear* linear : {&expert.gate, &expert.up, &expert.down}) {
    if (linear->empty()) continue;
    linear->bias = random_values(linear->weights.rows, random);
    Overlays overlays{random_low_rank(3, linear->weights.rows, linear->weights.cols, random)};
    linear->overlays = std::make_shared<const Overlays>(std::move(overlays));
  }
  return expert;
}

ExpertWeights free_expert(ExpertKind kind, std::mt19937& random) {
  ExpertWeights expert;
  expert.kind = kind;
  if (kind == ExpertKind::kConstant) expert.constant = random_values(kHidden, random);
  return expert;
}

/// The same experts in the form that the fast kernels read.
void interleave_all(ExpertWeights& expert, ThreadPool& pool) {
  for (Linear* linear : {&expert.gate, &expert.up, &expert.down}) {
    if (!linear->empty() && gains_from_interleaving(linear->weights)) {
      linear->weights = interleave(linear->weights, pool);
    }
  }
}

/// Every kind of expert, width, type and activation in one layer.
std::vector<ExpertWeights> zoo(std::mt19937& random) {
  std::vector<ExpertWeights> experts;
  experts.push_back(random_expert(DType::kF32, 32, {}, random));
  experts.push_back(random_expert(DType::kQ8_0, 160, {}, random));
  experts.push_back(random_expert(DType::kQ4_0, 96, {}, random));
  experts.push_back(free_expert(ExpertKind::kZero, random));
  experts.push_back(random_expert(DType::kF16, 32, {.kind = ActivationKind::kGeluTanh}, random, true));
  experts.push_back(random_expert(DType::kQ8_0, 64, {.kind = ActivationKind::kReluSquared, .gated = false}, random));
  experts.push_back(free_expert(ExpertKind::kCopy, random));
  experts.push_back(random_expert(DType::kF32, 32, {ActivationKind::kSwigluOai, true, 0.4f, 1.702f}, random, true));
  experts.push_back(free_expert(ExpertKind::kConstant, random));
  experts.push_back(random_expert(DType::kF32, 40, {.kind = ActivationKind::kGeluErf}, random));
  experts.push_back(random_expert(DType::kF32, 8, {.kind = ActivationKind::kIdentity, .gated = false}, random));
  experts.push_back(free_expert(ExpertKind::kConstant, random));
  experts.back().constant_mix = random_values(2 * kHidden, random);
  experts.push_back(random_expert(DType::kQ8_0, 160, {.kind = ActivationKind::kRelu}, random, true));
  return experts;
}

std::vector<double> multiply(const Linear& linear, const std::vector<double>& x) {
  const std::vector<float> w = decoded(linear.weights);
  const std::size_t k = x.size();
  std::vector<double> out(linear.weights.rows, 0.0);
  for (std::size_t n = 0; n < out.size(); ++n) {
    for (std::size_t i = 0; i < k; ++i) out[n] += w[n * k + i] * x[i];
    if (!linear.bias.empty()) out[n] += linear.bias[n];
  }
  if (!linear.has_overlays()) return out;
  const LowRank& low_rank = std::get<LowRank>(linear.overlays->front());
  for (std::int64_t r = 0; r < low_rank.rank; ++r) {
    double product = 0.0;
    for (std::size_t i = 0; i < k; ++i) product += low_rank.a[r * k + i] * x[i];
    for (std::size_t n = 0; n < out.size(); ++n)
      out[n] += low_rank.scale * low_rank.b_transposed[r * out.size() + n] * product;
  }
  return out;
}

double activated(const Activation& activation, double gate, double up) {
  const double x = activation.gated ? gate : up;
  const double factor = activation.gated ? up : 1.0;
  switch (activation.kind) {
    case ActivationKind::kSilu:
      return x / (1 + std::exp(-x)) * factor;
    case ActivationKind::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))) * factor;
    case ActivationKind::kGeluErf:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))) * factor;
    case ActivationKind::kRelu:
      return std::max(x, 0.0) * factor;
    case ActivationKind::kReluSquared:
      return std::max(x, 0.0) * std::max(x, 0.0) * factor;
    case ActivationKind::kIdentity:
      return x * factor;
    case ActivationKind::kSwigluOai: {
      const double limit = activation.limit, g = std::min(gate, limit), u = std::max(-limit, std::min(up, limit));
      return (u + 1) * g / (1 + std::exp(-activation.alpha * g));
    }
  }
  return NAN;
}

std::vector<double> reference(const ExpertWeights& expert, std::vector<double> x) {
  if (expert.kind == ExpertKind::kZero) return std::vector<double>(x.size(), 0.0);
  if (expert.kind == ExpertKind::kCopy) return x;
  if (expert.kind == ExpertKind::kConstant) {
    if (expert.constant_mix.empty()) return {expert.constant.begin(), expert.constant.end()};
    double of_x = 0.0, of_constant = 0.0;
    for (std::size_t d = 0; d < x.size(); ++d) {
      of_x += expert.constant_mix[d] * x[d];
      of_constant += expert.constant_mix[x.size() + d] * x[d];
    }
    const double a = std::exp(of_x) / (std::exp(of_x) + std::exp(of_constant));
    for (std::size_t d = 0; d < x.size(); ++d) x[d] = a * x[d] + (1 - a) * expert.constant[d];
    return x;
  }
  std::vector<double> hidden = multiply(expert.up, x), gate(hidden.size());
  if (expert.activation.gated) gate = multiply(expert.gate, x);
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = activated(expert.activation, gate[i], hidden[i]);
  return multiply(expert.down, hidden);
}

struct Layer {
  std::vector<ExpertWeights> experts;
  std::vector<const ExpertWeights*> pointers;
  RoutePlan plan;
  Matrix<float> x;

  Layer(int units, int max_slots, std::uint32_t seed, bool interleaved = false) {
    std::mt19937 random(seed);
    experts = zoo(random);
    ThreadPool pool(1);
    if (interleaved) {
      for (ExpertWeights& expert : experts) interleave_all(expert, pool);
    }
    for (const ExpertWeights& expert : experts) {
      check_expert(expert, kHidden, "test");
      pointers.push_back(&expert);
    }
    x.resize(units, kHidden);
    x.values = random_values(units * kHidden, random);
    for (int u = 0; u < units; ++u) {
      const int slots = std::uniform_int_distribution<int>(0, max_slots)(random);
      for (int s = 0; s < slots; ++s) {
        plan.expert.push_back(std::uniform_int_distribution<int>(0, static_cast<int>(experts.size()) - 1)(random));
        plan.weight.push_back(std::uniform_real_distribution<float>(0.1f, 2.0f)(random));
      }
      plan.offset.push_back(static_cast<std::int32_t>(plan.expert.size()));
    }
  }

  /// [slots, D] of `rows` of the plan's units.
  Matrix<float> run(int threads, ActivationType type, WeightOn weight_on, ExpertScratch& scratch,
                    ExpertUse* use = nullptr) const {
    ThreadPool pool(threads);
    ActivationRows activations;
    activations.assign(x.view());
    if (type == ActivationType::kQ8) activations.quantise_all();
    ExpertGroups groups;
    group_by_expert(plan, static_cast<int>(experts.size()), groups);
    Matrix<float> out(plan.slots(), kHidden);
    const ExpertUse found =
        run_experts(pointers, plan, groups, weight_on, type, activations, pool, scratch, out.view());
    if (use != nullptr) *use = found;
    return out;
  }
};

TEST(GroupedExperts, EverySlotAgreesWithTheDefinition) {
  ExpertScratch scratch;  // one for all: what an earlier call left must not show
  for (const int units : {0, 1, 7, 150}) {
    const Layer layer(units, 4, 100 + units, units % 2 == 1);
    for (const WeightOn weight_on : {WeightOn::kOutput, WeightOn::kInput}) {
      for (const ActivationType type : {ActivationType::kF32, ActivationType::kQ8}) {
        const Matrix<float> out = layer.run(2, type, weight_on, scratch);
        for (std::int64_t u = 0; u < layer.plan.units(); ++u) {
          for (std::int32_t s = layer.plan.offset[u]; s < layer.plan.offset[u + 1]; ++s) {
            std::vector<double> x;
            const double weight = weight_on == WeightOn::kInput ? layer.plan.weight[s] : 1.0;
            for (const float value : layer.x.view().row(u)) x.push_back(weight * value);
            const std::vector<double> expected = reference(layer.experts[layer.plan.expert[s]], x);
            double error = 0.0, size = 0.0;
            for (std::int64_t d = 0; d < kHidden; ++d) {
              error += std::pow(out.view().at(s, d) - expected[d], 2.0);
              size += expected[d] * expected[d];
            }
            const double bound = type == ActivationType::kF32 ? 1e-5 : 2e-2;
            ASSERT_LE(std::sqrt(error), bound * std::sqrt(size) + 1e-7) << "expert " << layer.plan.expert[s];
          }
        }
      }
    }
  }
}

TEST(GroupedExperts, BitsDoNotDependOnThreadsOrNeighbours) {
  const Layer layer(300, 4, 7, true);
  for (const ActivationType type : {ActivationType::kF32, ActivationType::kQ8}) {
    for (const WeightOn weight_on : {WeightOn::kOutput, WeightOn::kInput}) {
      ExpertScratch scratch;
      const Matrix<float> one = layer.run(1, type, weight_on, scratch);
      for (const int threads : {2, 3}) {
        const Matrix<float> many = layer.run(threads, type, weight_on, scratch);
        EXPECT_TRUE(same_bits(one.values, many.values)) << threads;
      }
      // Unit by unit: what a unit alone gets is what it gets among 300.
      for (std::int64_t u = 0; u < 300; u += 13) {
        Layer alone = layer;
        const std::int32_t begin = layer.plan.offset[u], count = layer.plan.offset[u + 1] - begin;
        alone.plan.offset = {0, count};
        alone.plan.expert.assign(layer.plan.expert.begin() + begin, layer.plan.expert.begin() + begin + count);
        alone.plan.weight.assign(layer.plan.weight.begin() + begin, layer.plan.weight.begin() + begin + count);
        alone.x.resize(1, kHidden);
        std::copy_n(layer.x.view().row(u).begin(), kHidden, alone.x.values.begin());
        const Matrix<float> out = alone.run(2, type, weight_on, scratch);
        EXPECT_TRUE(same_bits(out.values, std::span(one.values).subspan(begin * kHidden, count * kHidden)));
      }
    }
  }
}

TEST(GroupedExperts, PartsBoundTheMemoryAndChangeNoBit) {
  const Layer layer(300, 4, 8, true);
  for (const ActivationType type : {ActivationType::kF32, ActivationType::kQ8}) {
    for (const WeightOn weight_on : {WeightOn::kOutput, WeightOn::kInput}) {
      ExpertScratch whole;
      ExpertUse expected, use;
      whole.hidden_bytes = ExpertScratch::kAllHidden;
      const Matrix<float> out = layer.run(2, type, weight_on, whole, &expected);
      for (const std::int64_t least : {1, 7, 60}) {
        ExpertScratch parts;
        parts.hidden_bytes = 0;
        parts.least_rows = least;
        EXPECT_TRUE(same_bits(layer.run(2, type, weight_on, parts, &use).values, out.values)) << least;
        EXPECT_EQ(use, expected);
        for (const ExpertScratch::Hidden& hidden : parts.hidden) {
          EXPECT_LE(std::ssize(hidden.hidden.values), least * 160) << least;
        }
      }
    }
  }
  const std::int64_t row = 2 * 160 * 4 + 8 * 48;
  EXPECT_EQ(hidden_scratch_bytes(160, 10), 10 * row);
  EXPECT_EQ(hidden_scratch_bytes(160, 1 << 20), ExpertScratch::kHiddenBytes / row * row);
  EXPECT_EQ(hidden_scratch_bytes(1 << 16, 1 << 20), 256 * (std::int64_t{2 * 4} * 65536 + 2048 * 48));
}

TEST(GroupedExperts, UseCountsWhatIsExecuted) {
  Layer layer(3, 0, 5);
  layer.plan.offset = {0, 2, 4, 5};
  layer.plan.expert = {1, 3, 1, 6, 0};
  layer.plan.weight = {1, 1, 1, 1, 1};
  ExpertScratch scratch;
  ExpertUse use;
  layer.run(1, ActivationType::kF32, WeightOn::kOutput, scratch, &use);
  EXPECT_EQ(use.rows, 3);
  EXPECT_EQ(use.free_rows, 2);
  EXPECT_EQ(use.experts_read, 2);
  EXPECT_EQ(use.bytes_read, static_cast<std::int64_t>(3 * 160 * kHidden / 32 * 34 + 3 * 32 * kHidden * 4));
  EXPECT_EQ(use.flops, 2 * 3 * kHidden * (2 * 160 + 32));
}

TEST(GroupedExperts, RanksTogetherFillAllSlots) {
  const Layer layer(60, 4, 11);
  const int experts = static_cast<int>(layer.experts.size());
  ExpertScratch scratch;
  const Matrix<float> all = layer.run(1, ActivationType::kF32, WeightOn::kOutput, scratch);
  Placement placement{.version = 1, .ranks = 2, .ranks_of_expert = {}};
  for (int e = 0; e < experts; ++e)
    placement.ranks_of_expert.push_back(e % 3 == 0 ? std::vector{0, 1} : std::vector{e % 2});
  Matrix<float> out(layer.plan.slots(), kHidden);
  ThreadPool pool(2);
  ActivationRows activations;
  activations.assign(layer.x.view());
  for (int rank = 0; rank < 2; ++rank) {
    ExpertGroups groups;
    group_by_expert(layer.plan, experts, placement, rank, groups);
    std::vector<const ExpertWeights*> here(experts, nullptr);  // a rank has what its placement says
    for (int e = 0; e < experts; ++e) {
      const auto& at = placement.ranks_of_expert[e];
      if (std::find(at.begin(), at.end(), rank) != at.end()) here[e] = layer.pointers[e];
    }
    run_experts(here, layer.plan, groups, WeightOn::kOutput, ActivationType::kF32, activations, pool, scratch,
                out.view());
  }
  EXPECT_TRUE(same_bits(all.values, out.values));
}

// One Mixtral block as transformers computes it: E = 8, k = 2, D = 32, width 48, 96 tokens.
TEST(GroupedExperts, AMixtralBlockAsTransformersComputesIt) {
  const SafetensorsFile file = open_safetensors(JUNTO_SOURCE_DIR "/testdata/oracles/moe_block_backward.safetensors");
  const auto tensor = [&](const char* name) { return *file.tensors.find(name); };
  const auto matrix = [](const Tensor& t, std::int64_t begin, std::int64_t rows) {
    const std::vector<float> values = decode(t);
    const std::int64_t cols = t.cols();
    Linear linear;
    linear.weights = make_weights(
        make_tensor({rows, cols}, {values.begin() + begin * cols, values.begin() + (begin + rows) * cols}));
    return linear;
  };
  std::vector<ExpertWeights> experts(8);
  std::vector<const ExpertWeights*> pointers;
  for (int e = 0; e < 8; ++e) {
    const Tensor gate_up = slice(tensor("param.experts.gate_up_proj"), e);
    experts[e].gate = matrix(gate_up, 0, 48);
    experts[e].up = matrix(gate_up, 48, 48);
    experts[e].down = matrix(slice(tensor("param.experts.down_proj"), e), 0, 32);
    check_expert(experts[e], 32, "oracle");
    pointers.push_back(&experts[e]);
  }
  const std::vector<float> x = decode(tensor("x")), y = decode(tensor("y")), expected = decode(tensor("router_logits"));
  ActivationRows activations;
  activations.assign({x.data(), 96, 32});
  ThreadPool pool(2);
  OverlayScratch no_overlays;
  Matrix<float> logits(96, 8), out(96, 32);
  apply(matrix(tensor("param.gate.weight"), 0, 8), activations, logits.view(), pool, no_overlays);
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(logits.values[i], expected[i], 1e-5);
  const RouterSpec spec{.experts = 8, .select = TopK{2}, .weigh = Weigh::kRenormalised};
  RouteScratch route_scratch;
  RoutePlan plan;
  route(spec, {}, logits.view(), {}, route_scratch, plan);
  ExpertGroups groups;
  group_by_expert(plan, 8, groups);
  Matrix<float> slots(plan.slots(), 32);
  ExpertScratch scratch;
  run_experts(pointers, plan, groups, spec.weight_on, ActivationType::kF32, activations, pool, scratch, slots.view());
  combine(plan, slots.view(), 0, 96, out.view());
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(out.values[i], y[i], 1e-5);
}

}  // namespace
}  // namespace junto
