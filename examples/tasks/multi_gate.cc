// Several routers over one set of experts (multi-gate mixture of experts, Ma et al., KDD 2018): from a table of people
// and their health insurance, how often they see a doctor, and whether their body limits them. Each task has a router
// and a head of its own; an expert that both routers give the same person computes it once.
#include <ATen/ATen.h>

#include <array>
#include <cstdio>

#include "train/data/number_table.h"
#include "train/data/token_text.h"
#include "train/loop/task_trainer.h"
#include "train/nn/feed_forward.h"
#include "train/nn/module_experts.h"

namespace {

using at::Tensor;

constexpr std::int64_t kWidth = 16, kBatch = 256;
constexpr int kExperts = 6, kTasks = 2;
constexpr std::array<const char*, 8> kInputs = {"lncoins", "idp", "lpi", "fmde", "disea", "hlthg", "hlthf", "hlthp"};
constexpr std::int64_t kColumns = std::ssize(kInputs);

/// One person in five tests.
struct People {
  Tensor inputs, visits, limited;  // [n, 8] of mean 0 and deviation 1, [n] log(1 + visits), [n] 0 or 1
  Tensor train, test;              // their rows

  explicit People(const std::string& path) {
    const junto::NumberTable table = junto::read_number_table(path);
    std::vector<Tensor> columns;
    for (const char* name : kInputs) {
      const Tensor column = table.column(name);
      columns.push_back((column - column.mean()) / column.std());
    }
    inputs = at::stack(columns, 1);
    visits = table.column("mdvis").log1p();
    limited = (table.column("physlm") > 0.5).to(at::kFloat);
    const Tensor order = at::randperm(inputs.size(0), at::detail::createCPUGenerator(1), at::kLong);
    const std::int64_t held_out = order.size(0) / 5;
    test = order.narrow(0, 0, held_out), train = order.narrow(0, held_out, order.size(0) - held_out);
  }
};

/// The chance that a person with a limit has the larger score than one without.
double area_under_curve(const Tensor& scores, const Tensor& is_positive) {
  const Tensor ranks = scores.argsort().argsort().to(at::kDouble) + 1.0;
  const double positive = is_positive.sum().item<double>(), negative = is_positive.numel() - positive;
  return ((ranks * is_positive).sum().item<double>() - positive * (positive + 1) / 2) / (positive * negative);
}

class MultiGate final : public junto::Task {
 public:
  explicit MultiGate(People people) : people_(std::move(people)) {
    std::vector<junto::Parameters::Request> requests;
    const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t cols, Tensor& out) {
      requests.push_back(
          {.name = name, .shape = {rows, cols}, .out = &out, .deviation = 1.0 / std::sqrt(cols), .decays = true});
    };
    for (int e = 0; e < kExperts; ++e) {
      matrix("expert." + std::to_string(e) + ".in", kWidth, kColumns, in_[e]);
      matrix("expert." + std::to_string(e) + ".out", kWidth, kWidth, out_[e]);
    }
    for (int t = 0; t < kTasks; ++t) {
      matrix("router." + std::to_string(t), kExperts, kColumns, routers_[t]);
      matrix("head." + std::to_string(t), 1, kWidth, heads_[t]);
      requests.push_back({.name = "mean." + std::to_string(t), .shape = {1}, .out = &means_[t]});
    }
    parameters_ = junto::Parameters(requests, /*seed=*/1);
    for (int e = 0; e < kExperts; ++e) {
      experts_.push_back({.run =
                              [this, e](const Tensor& x) {
                                return at::relu(junto::project(at::relu(junto::project(x, in_[e])), out_[e]));
                              },
                          .flops = 2.0 * kWidth * (kColumns + kWidth)});
    }
  }

  junto::Parameters& parameters() override { return parameters_; }

  junto::TaskLoss compute(std::int64_t step, std::int64_t /*part*/) override {
    const at::Generator random = at::detail::createCPUGenerator(static_cast<std::uint64_t>(step));
    const Tensor batch = people_.train.index_select(0, at::randint(people_.train.size(0), {kBatch}, random, at::kLong));
    junto::TaskLoss out;
    const auto [visits, limited] = forward(people_.inputs.index_select(0, batch), out);
    out.loss = (visits - people_.visits.index_select(0, batch)).square().mean() +
               at::binary_cross_entropy_with_logits(limited, people_.limited.index_select(0, batch));
    return out;
  }

  std::map<std::string, double> evaluate() override {
    junto::TaskLoss out;
    const auto [visits, limited] = forward(people_.inputs.index_select(0, people_.test), out);
    const Tensor wanted = people_.visits.index_select(0, people_.test);
    const double left = (visits - wanted).square().mean().item<double>();
    double asked = 0;
    for (const junto::RoutedUnits& routed : out.routed.routed) asked += static_cast<double>(routed.plan.slots());
    return {{"explained", 1 - left / wanted.var(/*unbiased=*/false).item<double>()},
            {"area", area_under_curve(limited, people_.limited.index_select(0, people_.test))},
            {"computed of asked", static_cast<double>(out.work.expert_rows) / asked}};
  }

 private:
  std::array<Tensor, kTasks> forward(const Tensor& x, junto::TaskLoss& out) const {
    out.routed.router = {.experts = kExperts, .select = junto::TopK{3}, .weigh = junto::Weigh::kRenormalised};
    const junto::CompiledRouter compiled = junto::compile_router(out.routed.router, junto::LayerPolicy());
    for (const Tensor& router : routers_)
      out.routed.routed.push_back(junto::route_under_autograd(compiled, junto::project(x, router)));
    junto::ModuleUse use;
    const junto::RoutedUnits* const routings[] = {&out.routed.routed[0], &out.routed.routed[1]};
    const std::vector<Tensor> mixed = junto::module_experts(x, experts_, routings, &use);
    out.work.expert_rows = use.rows;
    out.work.work.experts = 3 * use.flops;
    out.work.work.router = 3 * 2.0 * kTasks * kExperts * kColumns * static_cast<double>(x.size(0));
    out.work.flops = out.work.work.sum();
    std::array<Tensor, kTasks> answers;
    for (int t = 0; t < kTasks; ++t) answers[t] = junto::project(mixed[t], heads_[t]).squeeze(1) + means_[t];
    return answers;
  }

  People people_;
  std::array<Tensor, kExperts> in_, out_;
  std::array<Tensor, kTasks> routers_, heads_, means_;
  std::vector<junto::ModuleExpert> experts_;
  junto::Parameters parameters_;
};

}  // namespace

int main(int argc, char** argv) {
  MultiGate task(People(argc > 1 ? argv[1] : junto::text_path("cache:data/randhie.csv")));
  junto::TaskTrainer trainer(task, {.name = "multi_gate",
                                    .losses = {.balance = 0.01f},
                                    .optimizer = {.learning_rate = 0.005f, .average = 0.98f},
                                    .schedule = {.steps = 600, .warmup_steps = 20}});
  while (!trainer.done()) trainer.train_step();
  const std::map<std::string, double> found = trainer.evaluate();
  for (const auto& [name, value] : found) std::printf("%s: %.3f\n", name.c_str(), value);
  return found.at("explained") > 0.03 && found.at("area") > 0.7 ? 0 : 1;
}
