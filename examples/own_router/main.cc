// A mixture of experts on a table instead of text: points of the plane, classed by a chequerboard, routed by a stage
// that Junto does not have. All else is Junto's: rules of selection, grouped experts, losses.
#include <ATen/ATen.h>

#include <cstdio>

#include "distance_logits.h"
#include "train/nn/feed_forward.h"
#include "train/nn/grouped_experts.h"
#include "train/nn/losses.h"
#include "train/nn/parameters.h"
#include "train/nn/route.h"

namespace {

constexpr std::int64_t kUnits = 512, kHidden = 16, kExperts = 8, kWidth = 32, kClasses = 2;
constexpr int kSteps = 400;
constexpr double kRate = 0.5, kBalance = 0.01;

struct Model {
  at::Tensor in, places, gate_up, down, head;
  junto::Parameters parameters;

  Model() {
    parameters = junto::Parameters(
        {{.name = "in", .shape = {kHidden, 2}, .out = &in, .deviation = 1.0},
         {.name = "places", .shape = {kExperts, 2}, .out = &places, .deviation = 1.0},
         {.name = "gate_up", .shape = {kExperts, 2 * kWidth, kHidden}, .out = &gate_up, .deviation = 0.3},
         {.name = "down", .shape = {kExperts, kHidden, kWidth}, .out = &down, .deviation = 0.2},
         {.name = "head", .shape = {kClasses, kHidden}, .out = &head, .deviation = 0.2}},
        /*seed=*/1);
  }
};

struct Points {
  at::Tensor x, label;  // [units, 2], [units]
};

Points draw_points(std::int64_t units) {
  const at::Tensor x = at::rand({units, 2}) * 4.0 - 2.0;
  return {x, (x.floor().sum(1).remainder(2.0)).to(at::kLong)};
}

}  // namespace

int main() {
  at::manual_seed(1);
  const junto::RouterSpec spec{.experts = kExperts, .select = junto::TopK{2}, .weigh = junto::Weigh::kRenormalised};
  const junto::CompiledRouter router = junto::compile_router(spec, junto::LayerPolicy());
  Model model;
  const auto forward = [&](const at::Tensor& x, junto::RoutedUnits& routed) {
    const at::Tensor hidden = junto::project(x, model.in);
    // The experts read other features than the router does.
    routed = junto::route_under_autograd(router, distance_logits({.temperature = 0.5}, x, model.places));
    const at::Tensor mixed = junto::grouped_experts(hidden, routed.weights, model.gate_up, model.down,
                                                    junto::group_slots(routed.plan, kExperts));
    return junto::project(hidden + mixed, model.head);
  };
  for (int step = 0; step < kSteps; ++step) {
    const Points points = draw_points(kUnits);
    junto::RoutedUnits routed;
    at::Tensor loss = at::cross_entropy_loss(forward(points.x, routed), points.label);
    loss = loss + kBalance * junto::balance_loss(routed.scores, routed.plan);
    model.parameters.clear_gradients();
    loss.backward();
    at::NoGradGuard guard;
    at::Tensor values = model.parameters.values();
    values.sub_(model.parameters.gradients(), kRate);
    if (step % 100 == 0 || step == kSteps - 1) std::printf("step %d: loss %.3f\n", step, loss.item<double>());
  }
  at::NoGradGuard guard;
  const Points points = draw_points(4096);
  junto::RoutedUnits routed;
  const at::Tensor right = forward(points.x, routed).argmax(1) == points.label;
  const double share = right.to(at::kDouble).mean().item<double>();
  std::printf("%.1f %% of new points are right\n", 100.0 * share);
  return share > 0.85 ? 0 : 1;
}
