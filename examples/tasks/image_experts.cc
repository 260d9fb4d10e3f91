// Convolutions as experts: 8 x 8 images of handwritten digits, each image to two of eight experts. What is routed are
// samples; the router reads their pooled features, the experts read all of them.
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

constexpr std::int64_t kChannels = 16, kSide = 8, kClasses = 10, kBatch = 64;
constexpr int kExperts = 8;
constexpr double kConvolution = 2.0 * kChannels * kChannels * 9 * kSide * kSide;

/// The last fifth of the images tests: other people wrote them.
struct Digits {
  Tensor images, labels, test_images, test_labels;  // [n, 1, 8, 8] in 0..1, [n]

  explicit Digits(const std::string& path) {
    const junto::NumberTable table = junto::read_number_table(path);
    const Tensor labels_of_all = table.column("label").to(at::kLong);
    const std::int64_t rows = table.values.size(0), train = rows * 4 / 5;
    const Tensor all = table.values.narrow(1, 0, kSide * kSide).reshape({rows, 1, kSide, kSide}) / 16.0;
    images = all.narrow(0, 0, train), test_images = all.narrow(0, train, rows - train);
    labels = labels_of_all.narrow(0, 0, train), test_labels = labels_of_all.narrow(0, train, rows - train);
  }
};

Tensor convolve(const Tensor& x, const Tensor& weight) {
  return at::conv2d(x, weight, /*bias=*/{}, /*stride=*/1, /*padding=*/1);
}

class ImageExperts final : public junto::Task {
 public:
  explicit ImageExperts(Digits digits) : digits_(std::move(digits)) {
    const std::vector<std::int64_t> square = {kChannels, kChannels, 3, 3};
    std::vector<junto::Parameters::Request> requests = {
        {.name = "stem", .shape = {kChannels, 1, 3, 3}, .out = &stem_, .deviation = 0.4, .decays = true},
        {.name = "router", .shape = {kExperts, kChannels}, .out = &router_, .deviation = 0.1, .decays = true},
        {.name = "head", .shape = {kClasses, kChannels * 16}, .out = &head_, .deviation = 0.06, .decays = true}};
    for (int e = 0; e < kExperts; ++e) {
      const std::string name = "expert." + std::to_string(e);
      requests.push_back({.name = name + ".in", .shape = square, .out = &in_[e], .deviation = 0.1, .decays = true});
      requests.push_back({.name = name + ".out", .shape = square, .out = &out_[e], .deviation = 0.05, .decays = true});
    }
    parameters_ = junto::Parameters(requests, /*seed=*/1);
    for (int e = 0; e < kExperts; ++e) {
      experts_.push_back(
          {.run = [this, e](const Tensor& x) { return convolve(at::relu(convolve(x, in_[e])), out_[e]); },
           .flops = 2 * kConvolution});
    }
  }

  junto::Parameters& parameters() override { return parameters_; }

  junto::TaskLoss compute(std::int64_t step, std::int64_t /*part*/) override {
    const at::Generator random = at::detail::createCPUGenerator(static_cast<std::uint64_t>(step));
    const Tensor batch = at::randint(digits_.images.size(0), {kBatch}, random, at::kLong);
    junto::TaskLoss out;
    const Tensor logits = forward(digits_.images.index_select(0, batch), out);
    out.loss = at::cross_entropy_loss(logits, digits_.labels.index_select(0, batch));
    return out;
  }

  std::map<std::string, double> evaluate() override {
    junto::TaskLoss out;
    const Tensor right = forward(digits_.test_images, out).argmax(1) == digits_.test_labels;
    return {{"accuracy", right.to(at::kDouble).mean().item<double>()}};
  }

 private:
  Tensor forward(const Tensor& images, junto::TaskLoss& out) const {
    const Tensor features = at::relu(convolve(images, stem_));
    const junto::RouterSpec spec{.experts = kExperts, .select = junto::TopK{2}, .weigh = junto::Weigh::kRenormalised};
    out.routed.router = spec;
    out.routed.routed.push_back(junto::route_under_autograd(junto::compile_router(spec, junto::LayerPolicy()),
                                                            junto::project(features.mean({2, 3}), router_)));
    junto::ModuleUse use;
    const junto::RoutedUnits* const routings[] = {&out.routed.routed[0]};
    const Tensor mixed = features + junto::module_experts(features, experts_, routings, &use)[0];
    const double images_read = static_cast<double>(images.size(0));
    out.work.expert_rows = use.rows;
    out.work.work.experts = 3 * use.flops;
    out.work.work.dense = 3 * images_read * (kConvolution / kChannels + 2.0 * kClasses * kChannels * 16);
    out.work.work.router = 3 * images_read * 2 * kExperts * kChannels;
    out.work.flops = out.work.work.sum();
    return junto::project(at::max_pool2d(mixed, 2).flatten(1), head_);
  }

  Digits digits_;
  Tensor stem_, router_, head_;
  std::array<Tensor, kExperts> in_, out_;
  std::vector<junto::ModuleExpert> experts_;
  junto::Parameters parameters_;
};

}  // namespace

int main(int argc, char** argv) {
  ImageExperts task(Digits(argc > 1 ? argv[1] : junto::text_path("cache:data/digits.csv")));
  junto::TaskTrainer trainer(task, {.name = "image_experts",
                                    .losses = {.balance = 0.05f},
                                    .optimizer = {.learning_rate = 0.004f},
                                    .schedule = {.steps = 400, .warmup_steps = 20}});
  while (!trainer.done()) {
    const junto::StepReport report = trainer.train_step();
    if (report.step % 100 == 0)
      std::printf("step %lld: loss %.3f, busiest expert %.2f of the mean\n", static_cast<long long>(report.step),
                  report.loss, report.busiest);
  }
  const double accuracy = trainer.evaluate().at("accuracy");
  std::printf("%.1f %% of the images of other writers are right; %.2f GFLOP, %.0f %% of them experts'\n",
              100 * accuracy, trainer.ledger().flops / 1e9,
              100 * trainer.ledger().work.experts / trainer.ledger().flops);
  return accuracy > 0.9 ? 0 : 1;
}
