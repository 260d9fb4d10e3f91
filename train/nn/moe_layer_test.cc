// A whole layer of experts, held to a reference that computes one unit after the other, in double, from the papers'
// formulas, and shares no code with it; gradients to differences of the reference.
#include "train/nn/moe_layer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "train/nn/residual.h"

namespace junto {
namespace {

constexpr std::int64_t kHidden = 5, kUnits = 7;

using Row = std::vector<double>;

/// A tensor of doubles as the reference reads it.
double at(const at::Tensor& t, std::int64_t i, std::int64_t j) {
  return t.data_ptr<double>()[i * t.size(1) + j];
}
double at(const at::Tensor& t, std::int64_t i, std::int64_t j, std::int64_t k) {
  return t.data_ptr<double>()[(i * t.size(1) + j) * t.size(2) + k];
}

Row product(const at::Tensor& matrix, const Row& x) {
  Row out(matrix.size(0), 0.0);
  for (std::int64_t i = 0; i < matrix.size(0); ++i) {
    for (std::size_t j = 0; j < x.size(); ++j) out[i] += at(matrix, i, j) * x[j];
  }
  return out;
}

double act(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kSilu:
      return x / (1.0 + std::exp(-x));
    case ActivationKind::kGeluTanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case ActivationKind::kGeluErf:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case ActivationKind::kRelu:
      return x > 0.0 ? x : 0.0;
    case ActivationKind::kReluSquared:
      return x > 0.0 ? x * x : 0.0;
    default:
      return x;
  }
}

class Reference {
 public:
  Reference(const MoeShape& shape, const MoeParameters& parameters) : shape_(shape), p_(parameters) {}

  /// One unit through all rounds; `carried` are the logits of the routing below, empty before the first.
  Row layer(const Row& x, Row& carried) const {
    Row state = x, sum(x.size(), 0.0);
    for (int round = 0; round < shape_.rounds.count; ++round) {
      const MoeParameters::Router& router = p_.routers[shape_.rounds.own_routers ? round : 0];
      Row y = experts(state, carried = logits(router, state, carried));
      if (shape_.shared_width > 0 && (!shape_.rounds.shared_last || round == shape_.rounds.count - 1)) {
        const Row shared = network(Activation(), p_.gate_up, p_.down, state);
        for (std::size_t d = 0; d < y.size(); ++d) y[d] += shared[d];
      }
      for (std::size_t d = 0; d < y.size(); ++d) {
        sum[d] = (shape_.rounds.inner_residual ? sum[d] : 0.0) + y[d];
        state[d] = (shape_.rounds.inner_residual ? state[d] : 0.0) + y[d];
      }
    }
    return sum;
  }

 private:
  static double length(const Row& x) { return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0)); }

  Row logits(const MoeParameters::Router& router, const Row& x, const Row& carried) const {
    Row out;
    if (shape_.router.logits == LogitsKind::kTwoLayer) {
      Row hidden = product(router.hidden, x);
      for (double& value : hidden) value = std::tanh(value);
      out = product(router.logits, hidden);
    } else {
      out = product(router.logits, x);
    }
    for (std::int64_t e = 0; shape_.router.logits == LogitsKind::kCosine && e < shape_.router.experts; ++e) {
      Row row(x.size());
      for (std::size_t d = 0; d < row.size(); ++d) row[d] = at(router.logits, e, d);
      out[e] /= length(x) * length(row);
    }
    if (router.residual.defined() && !carried.empty()) {
      const Row added = product(router.residual, carried);
      for (std::size_t e = 0; e < out.size(); ++e) out[e] += added[e];
    }
    return out;
  }

  static Row network(const Activation& activation, const at::Tensor& first, const at::Tensor& down, const Row& x) {
    const Row projected = product(first, x);
    Row hidden(down.size(1));
    for (std::size_t h = 0; h < hidden.size(); ++h) {
      hidden[h] = act(activation.kind, projected[h]) * (activation.gated ? projected[hidden.size() + h] : 1.0);
    }
    return product(down, hidden);
  }

  /// Softmax over all, the best two (the lower id of equals), weights as they are.
  Row experts(const Row& x, Row logits) const {
    for (double& logit : logits) logit *= static_cast<double>(shape_.router.logit_scale);
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0.0;
    for (double& logit : logits) sum += logit = std::exp(logit - largest);
    std::vector<int> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
    Row out(x.size(), 0.0);
    for (int i = 0; i < 2; ++i) {
      const double weight = logits[order[i]] / sum;
      const bool on_input = shape_.router.weight_on == WeightOn::kInput;
      Row input = x;
      for (double& value : input) value *= on_input ? weight : 1.0;
      const Row y = expert(order[i], input);
      for (std::size_t d = 0; d < out.size(); ++d) out[d] += (on_input ? 1.0 : weight) * y[d];
    }
    return out;
  }

  Row expert(int e, const Row& x) const {
    const int c = e - shape_.weighted_experts();
    if (c < 0) return network(shape_.activation, p_.expert_gate_up[e].contiguous(), p_.expert_down[e].contiguous(), x);
    if (c >= shape_.constant_experts + shape_.copy_experts) return Row(x.size(), 0.0);
    if (c >= shape_.constant_experts) return x;
    double of_x = 0.0, of_v = 0.0;
    for (std::size_t d = 0; d < x.size(); ++d) {
      of_x += at(p_.constant_mix, c, 0, d) * x[d];
      of_v += at(p_.constant_mix, c, 1, d) * x[d];
    }
    const double a = std::exp(of_x) / (std::exp(of_x) + std::exp(of_v));
    Row out(x.size());
    for (std::size_t d = 0; d < x.size(); ++d) out[d] = a * x[d] + (1.0 - a) * at(p_.constants, c, d);
    return out;
  }

  const MoeShape& shape_;
  const MoeParameters& p_;
};

struct Layers {
  std::vector<MoeParameters> parameters;
  std::vector<at::Tensor*> leaves;
  at::Tensor x;
};

/// `count` layers, one after the other, in double.
void make_layers(const MoeShape& shape, int count, unsigned seed, Layers& layers) {
  layers.parameters.resize(count);
  std::mt19937 random(seed);
  std::vector<Parameters::Request> requests;
  for (int layer = 0; layer < count; ++layer) {
    request_moe_parameters(shape, kHidden, "", layer > 0 ? shape.router.experts : 0, 1, 1, layers.parameters[layer],
                           requests);
  }
  std::normal_distribution<double> normal(0.0, 0.6);
  const auto leaf = [&](std::vector<std::int64_t> sizes) {
    at::Tensor values = at::empty(sizes, at::kDouble);
    for (std::int64_t i = 0; i < values.numel(); ++i) values.data_ptr<double>()[i] = normal(random);
    return values.set_requires_grad(true);
  };
  for (const Parameters::Request& request : requests) {
    *request.out = leaf(request.shape);
    layers.leaves.push_back(request.out);
  }
  layers.x = leaf({kUnits, kHidden});
  layers.leaves.push_back(&layers.x);
}

at::Tensor run(const MoeShape& shape, const Layers& layers) {
  const MoeRouters routers = compile_routers(shape);
  MoePass pass;
  at::Tensor x = layers.x;
  for (const MoeParameters& parameters : layers.parameters) x = x + moe_layer(shape, routers, parameters, x, pass);
  EXPECT_EQ(pass.routed.size(), layers.parameters.size() * shape.rounds.count);
  return x;
}

Row reference(const MoeShape& shape, const Layers& layers) {
  Row out;
  for (std::int64_t unit = 0; unit < kUnits; ++unit) {
    Row x(kHidden), carried;
    for (std::int64_t d = 0; d < kHidden; ++d) x[d] = at(layers.x, unit, d);
    for (const MoeParameters& parameters : layers.parameters) {
      const Row y = Reference(shape, parameters).layer(x, carried);
      for (std::int64_t d = 0; d < kHidden; ++d) x[d] += y[d];
    }
    out.insert(out.end(), x.begin(), x.end());
  }
  return out;
}

std::vector<std::pair<const char*, MoeShape>> shapes() {
  MoeShape plain;
  plain.router = {.experts = 6, .select = TopK{2}};
  plain.expert_width = 4;
  std::vector<std::pair<const char*, MoeShape>> out;
  const auto add = [&](const char* name, const auto& change) { change(out.emplace_back(name, plain).second); };
  add("plain", [](MoeShape&) {});
  add("cosine", [](MoeShape& s) { s.router.logits = LogitsKind::kCosine, s.router.logit_scale = 4.0f; });
  add("two layers", [](MoeShape& s) { s.router.logits = LogitsKind::kTwoLayer, s.router.logits_hidden = 3; });
  add("gating residual", [](MoeShape& s) { s.router.logit_residual = true; });
  add("weights on inputs", [](MoeShape& s) { s.router.weight_on = WeightOn::kInput; });
  add("free experts", [](MoeShape& s) { s.constant_experts = 2, s.copy_experts = s.zero_experts = 1; });
  add("copies and zeros", [](MoeShape& s) { s.copy_experts = 2, s.zero_experts = 3; });
  add("gelu", [](MoeShape& s) { s.activation = {.kind = ActivationKind::kGeluErf, .gated = false}; });
  add("gated tanh gelu", [](MoeShape& s) { s.activation = {.kind = ActivationKind::kGeluTanh, .gated = true}; });
  add("relu squared", [](MoeShape& s) { s.activation = {.kind = ActivationKind::kReluSquared, .gated = false}; });
  add("plain silu", [](MoeShape& s) { s.activation = {.kind = ActivationKind::kSilu, .gated = false}; });
  add("lora", [](MoeShape& s) {
    s.activation = {.kind = ActivationKind::kIdentity, .gated = false};
    s.shared_width = 3;
  });
  add("rounds", [](MoeShape& s) {
    s.rounds.count = 3;
    s.router.logit_residual = true;
    s.shared_width = 3;
  });
  add("rounds of one router", [](MoeShape& s) {
    s.rounds = {.count = 2, .inner_residual = false, .own_routers = false, .shared_last = true};
    s.shared_width = 3;
  });
  return out;
}

TEST(MoeLayer, OutputsAndGradientsAreTheReferences) {
  for (const auto& [name, shape] : shapes()) {
    SCOPED_TRACE(name);
    Layers layers;
    make_layers(shape, 2, 3, layers);
    const at::Tensor out = run(shape, layers);
    const Row expected = reference(shape, layers);
    for (std::size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(out.detach().data_ptr<double>()[i], expected[i], 1e-10);
    const at::Tensor upstream = at::randn({kUnits, kHidden}, at::kDouble);
    out.backward(upstream);
    const auto loss = [&] {
      const Row y = reference(shape, layers);
      double sum = 0.0;
      for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * upstream.data_ptr<double>()[i];
      return sum;
    };
    int outliers = 0;
    for (at::Tensor* leaf : layers.leaves) {
      ASSERT_TRUE(leaf->grad().defined());
      const std::int64_t step = std::max<std::int64_t>(1, leaf->numel() / 12);  // some of each
      for (std::int64_t i = 0; i < leaf->numel(); i += step) {
        double& value = leaf->detach().data_ptr<double>()[i];
        const double kept = value;
        const auto difference = [&](double by) {
          value = kept + by;
          const double above = loss();
          value = kept - by;
          const double below = loss();
          value = kept;
          return (above - below) / (2 * by);
        };
        // Three rounds bend too much for one difference, and their sums are too large for a smaller step.
        const double slope = (4 * difference(5e-6) - difference(1e-5)) / 3, found = leaf->grad().data_ptr<double>()[i];
        outliers += std::fabs(found - slope) > 1e-5 * std::max(1.0, std::fabs(slope));
      }
    }
    EXPECT_EQ(outliers, 0);
  }
}

TEST(MoeLayer, ZeroUnitsAndUnitsOfFreeExpertsAloneAreLegal) {
  MoeShape shape;
  shape.router = {.experts = 3, .select = TopK{1}};
  shape.expert_width = 4;
  shape.copy_experts = shape.zero_experts = 1;
  Layers layers;
  make_layers(shape, 1, 5, layers);
  MoePass pass;
  const MoeRouters routers = compile_routers(shape);
  EXPECT_EQ(moe_layer(shape, routers, layers.parameters[0], at::zeros({0, kHidden}, at::kDouble), pass).size(0), 0);
  {
    at::NoGradGuard guard;
    at::Tensor& router = layers.parameters[0].routers[0].logits;
    router.zero_();
    router[1].fill_(1.0);  // the copy expert of all units whose values add up to more than 0
  }
  const at::Tensor x = at::ones({2, kHidden}, at::kDouble).set_requires_grad(true);
  const at::Tensor out = moe_layer(shape, routers, layers.parameters[0], x, pass);
  EXPECT_EQ(weighted_slots(shape, pass.routed.back().plan), 0);
  const double weight = std::exp(5.0) / (std::exp(5.0) + 2.0);
  EXPECT_NEAR(out.detach().data_ptr<double>()[3], weight, 1e-12);
  out.sum().backward();
  EXPECT_TRUE(x.grad().defined());
  EXPECT_GT(layers.parameters[0].routers[0].logits.grad().abs().max().item<double>(), 0.0);
}

TEST(MoeLayer, CostsAreCounted) {
  MoeShape shape;
  shape.router = {.experts = 8, .select = TopK{2}};
  shape.expert_width = 3;
  EXPECT_EQ(expert_flops(shape, 10), 2 * 3 * 3 * 10);
  EXPECT_EQ(router_flops(shape, 10), 2 * 8 * 10);
  shape.activation.gated = false;
  EXPECT_EQ(expert_flops(shape, 10), 2 * 2 * 3 * 10);
  shape.rounds.count = 2;
  EXPECT_EQ(router_flops(shape, 10), 2 * 2 * 8 * 10);
}

/// x through `f` of each layer: the rules' gradients are those of their recursion.
TEST(ResidualUnderAutograd, RulesAreTheEnginesAndHaveTheirSlopes) {
  const std::vector<ResidualRule> rules = {AddResidual{-0.5f}, HeavyBall{0.7f, -1.0f, 0.3f},
                                           AdamLike{0.9f, 0.9f, 0.5f, 1e-3f, 0.25f, 0.5f, 2.0f}, Restart{}};
  for (const ResidualRule& rule : rules) {
    const at::Tensor values = at::randn({4, 6}, at::kDouble).set_requires_grad(true);
    const auto run = [&](const at::Tensor& f) {
      ResidualMoments moments;
      at::Tensor x = f[0];
      for (int layer = 1; layer < 4; ++layer) {
        const at::Tensor read = look_ahead(rule, x, moments);
        x = join_residual(rule, x, f[layer] * at::tanh(read), read, moments);
      }
      return x;
    };
    const at::Tensor out = run(values);
    // The engine on the same rows, in float32.
    for (int column = 0; column < 6; ++column) {
      float m = 0, p = 0, v = 0, x = values[0][column].item<float>();
      for (int layer = 1; layer < 4; ++layer) {
        const auto* ball = std::get_if<HeavyBall>(&rule);
        const float read = x + (ball != nullptr ? ball->look_ahead * m : 0.0f);
        const float f = values[layer][column].item<float>() * std::tanh(read);
        join_residual(rule, {&f, 1}, {&read, 1}, Moments{{&m, 1}, {&p, 1}, {&v, 1}}, {&x, 1});
      }
      EXPECT_NEAR(out[column].item<double>(), x, 1e-4) << to_json(rule);
    }
    out.sum().backward();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      at::Tensor above = values.detach().clone(), below = values.detach().clone();
      above.data_ptr<double>()[i] += 1e-6;
      below.data_ptr<double>()[i] -= 1e-6;
      const double slope = (run(above).sum().item<double>() - run(below).sum().item<double>()) / 2e-6;
      EXPECT_NEAR(values.grad().data_ptr<double>()[i], slope, 1e-6 * std::max(1.0, std::fabs(slope))) << to_json(rule);
    }
  }
}

/// MomentumSMoE without memory is the mixture with that sign, and with gamma 1 the plain one.
TEST(ResidualUnderAutograd, AHeavyBallWithoutMemoryIsAdditionToTheBit) {
  for (const float sign : {1.0f, -1.0f}) {
    const HeavyBall ball{.mu = 0.0f, .gamma = sign};
    const AddResidual add{.factor = sign};
    at::Tensor thrown = at::randn({5, 7}), added = thrown.clone();
    std::vector<float> engine_thrown(5, 0.5f), engine_added = engine_thrown, m(5), none;
    ResidualMoments moments, unused;
    for (int layer = 0; layer < 4; ++layer) {
      const at::Tensor f = at::randn({5, 7});
      thrown = join_residual(ball, thrown, f, thrown, moments);
      added = join_residual(add, added, f, added, unused);
      const std::span<const float> row(f.data_ptr<float>(), 5);
      join_residual(ball, row, row, Moments{m, none, none}, engine_thrown);
      join_residual(add, row, row, Moments{none, none, none}, engine_added);
    }
    EXPECT_TRUE(thrown.equal(added));
    EXPECT_EQ(engine_thrown, engine_added);
  }
}

}  // namespace
}  // namespace junto
