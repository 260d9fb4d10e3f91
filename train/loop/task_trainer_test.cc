#include "train/loop/task_trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "format/test_directory.h"
#include "train/nn/feed_forward.h"
#include "train/nn/module_experts.h"

namespace junto {
namespace {

constexpr std::int64_t kInputs = 4, kUnitsOfPart = 32;
constexpr int kLinearExperts = 4;

/// y = one of four linear maps of x, by which quarter of the plane the first two numbers are in. Nothing here is text.
class Quarters final : public Task {
 public:
  Quarters() {
    std::vector<Parameters::Request> requests = {
        {.name = "router", .shape = {kLinearExperts, kInputs}, .out = &router_, .deviation = 0.5}};
    for (int e = 0; e < kLinearExperts; ++e) {
      requests.push_back({.name = "expert." + std::to_string(e),
                          .shape = {1, kInputs},
                          .out = &maps_[e],
                          .deviation = 0.1,
                          .decays = true});
    }
    parameters_ = Parameters(requests, 7);
    bias_ = at::zeros({kLinearExperts});
  }

  Parameters& parameters() override { return parameters_; }
  std::vector<RouterPlace> routers() const override {
    return {{.bias_name = "router.bias", .selection_bias = bias_, .routed = {0}}};
  }
  TaskLoss compute(std::int64_t step, std::int64_t part) override {
    auto [x, y] = draw(1000 * step + part);
    TaskLoss out = forward(x, y);
    if (spoiled_at == step) out.loss = out.loss * std::nan("");
    return out;
  }
  std::map<std::string, double> evaluate() override {
    auto [x, y] = draw(-1);
    return {{"loss", forward(x, y).loss.item<double>()}};
  }

  std::int64_t spoiled_at = -1;

 private:
  static std::pair<at::Tensor, at::Tensor> draw(std::int64_t number) {
    const at::Generator random = at::detail::createCPUGenerator(static_cast<std::uint64_t>(number + 2));
    const at::Tensor x = at::randn({kUnitsOfPart, kInputs}, random);
    const at::Tensor a = (x.select(1, 0) > 0).to(at::kFloat) * 2 - 1, b = (x.select(1, 1) > 0).to(at::kFloat) * 2 - 1;
    return {x, a * x.select(1, 2) + b * x.select(1, 3)};
  }

  TaskLoss forward(const at::Tensor& x, const at::Tensor& y) {
    const RouterSpec spec{.experts = kLinearExperts, .selection_bias = true, .select = TopK{1}};
    TaskLoss out;
    out.routed.router = spec;
    out.routed.routed.push_back(route_under_autograd(compile_router(spec, LayerPolicy()), project(x, router_), bias_));
    std::vector<ModuleExpert> experts;
    for (const at::Tensor& map : maps_)
      experts.push_back({.run = [map](const at::Tensor& rows) { return project(rows, map); }, .flops = 2.0 * kInputs});
    ModuleUse use;
    const RoutedUnits* const routings[] = {&out.routed.routed[0]};
    out.loss = (module_experts(x, experts, routings, &use)[0].squeeze(1) - y).square().mean();
    out.work.expert_rows = use.rows;
    out.work.work.experts = 3 * use.flops;
    out.work.flops = out.work.work.sum();
    return out;
  }

  at::Tensor router_, bias_;
  std::array<at::Tensor, kLinearExperts> maps_;
  Parameters parameters_;
};

TaskRun run_of(std::int64_t steps) {
  return {.name = "quarters",
          .losses = {.balance = 0.01f, .bias_rate = 0.001f},
          .optimizer = {.learning_rate = 0.02f, .weight_decay = 0.0f, .average = 0.9f},
          .schedule = {.steps = steps, .warmup_steps = 10},
          .parts = 2};
}

TEST(TaskTrainer, LearnsWhatIsNoText) {
  Quarters task;
  TaskTrainer trainer(task, run_of(400));
  const double before = trainer.evaluate().at("loss");
  StepReport last;
  while (!trainer.done()) last = trainer.train_step();
  EXPECT_LT(trainer.evaluate().at("loss"), 0.6 * before);
  EXPECT_EQ(last.step, 400);
  EXPECT_GT(last.balance, 0.9);
  EXPECT_GE(last.busiest, 1.0);
  EXPECT_EQ(trainer.ledger().expert_rows, 400 * 2 * kUnitsOfPart);
  EXPECT_EQ(trainer.ledger().work.experts, 3.0 * 2 * kInputs * 400 * 2 * kUnitsOfPart);
  EXPECT_GT(trainer.ledger().work.optimizer, 0.0);
  double rows = 0;
  for (const double of_expert : last.load.at(0)) rows += of_expert;
  EXPECT_EQ(rows, 2 * kUnitsOfPart);
}

TEST(TaskTrainer, GoesOnFromACheckpointToTheBit) {
  const TestDirectory directory;
  Quarters whole_task, first_task, second_task;
  TaskTrainer whole(whole_task, run_of(30)), first(first_task, run_of(30)), second(second_task, run_of(30));
  for (int i = 0; i < 20; ++i) whole.train_step();
  for (int i = 0; i < 12; ++i) first.train_step();
  first.save(directory.path("c.safetensors"));
  second.load(directory.path("c.safetensors"));
  EXPECT_EQ(second.step(), 12);
  for (int i = 0; i < 8; ++i) second.train_step();
  EXPECT_TRUE(at::equal(whole_task.parameters().values(), second_task.parameters().values()));
  EXPECT_TRUE(at::equal(whole_task.routers()[0].selection_bias, second_task.routers()[0].selection_bias));
  EXPECT_GT(whole_task.routers()[0].selection_bias.abs().max().item<double>(), 0.0);
  EXPECT_EQ(whole.evaluate(), second.evaluate());
  EXPECT_EQ(to_json(whole.ledger()), to_json(second.ledger()));
}

TEST(TaskTrainer, AForeignCheckpointAndALossThatIsNoNumberAreRefused) {
  const TestDirectory directory;
  Quarters task;
  TaskTrainer trainer(task, run_of(30));
  trainer.save(directory.path("c.safetensors"));
  TaskRun other = run_of(30);
  other.name = "halves";
  TaskTrainer stranger(task, other);
  EXPECT_NE(error_of([&] { stranger.load(directory.path("c.safetensors")); }).find("task quarters, expected halves"),
            std::string::npos);
  task.spoiled_at = 1;
  trainer.train_step();
  const at::Tensor before = task.parameters().values().clone();
  EXPECT_NE(error_of([&] { trainer.train_step(); }).find("step 2: loss is"), std::string::npos);
  EXPECT_TRUE(at::equal(before, task.parameters().values())) << "nothing was updated";
}

}  // namespace
}  // namespace junto
