// How fast the experts of a training step are, forward and backward, float32:
//
//   grouped_experts [--repeat N] [--micro-batches N] [--case NAME] [--loop-limit GB] [--json]
//
// 2048 units of 512 numbers, random experts, 38.7 GFLOP whatever the case. In turn, all in one process:
//   limit     the six dense products of the same size over all rows, without autograd: what the BLAS can give
//   loop      for each expert its rows, two products, index_add_ into the output; gradients by autograd
//   returned  grouped_experts(), gradients returned to autograd
//   in place  grouped_experts() with ExpertGradients
// Medians. Gradients of loop and grouped are compared first. The loop is left out where its memory would be over
// --loop-limit (default 12). With micro-batches the units come in N equal parts, gradients added up.
#include "train/nn/grouped_experts.h"

#include <ATen/ATen.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "cli/command_line.h"
#include "cli/table.h"
#include "train/nn/blas.h"

namespace junto {
namespace {

constexpr std::int64_t kUnits = 2048, kHidden = 512;
constexpr double kFlops = 38.65470566e9;  // 3 passes * 2 * 4096 slots of width 1024 * 512 * 3 matrices

struct Case {
  const char* name;
  int experts, chosen;
  std::int64_t width;
};
constexpr Case kCases[] = {
    {"512", 8, 2, 1024}, {"256", 16, 2, 1024},     {"64-coarse", 64, 2, 1024},
    {"64", 256, 8, 256}, {"32-fine", 512, 8, 256}, {"16", 256, 2, 1024},
};

struct Options {
  int repeat = 7;
  int micro_batches = 1;
  std::optional<std::string> only;
  std::optional<float> loop_limit_gb;
  bool json = false;
};

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

RoutePlan random_plan(std::int64_t units, int experts, int chosen, std::mt19937& random) {
  RoutePlan plan;
  std::vector<std::int32_t> ids(experts);
  for (int e = 0; e < experts; ++e) ids[e] = e;
  for (std::int64_t unit = 0; unit < units; ++unit) {
    for (int i = 0; i < chosen; ++i) std::swap(ids[i], ids[i + static_cast<int>(random() % (experts - i))]);
    plan.expert.insert(plan.expert.end(), ids.begin(), ids.begin() + chosen);
    plan.weight.insert(plan.weight.end(), chosen, 1.0f / static_cast<float>(chosen));
    plan.offset.push_back(static_cast<std::int32_t>(plan.expert.size()));
  }
  return plan;
}

/// One micro-batch.
struct Batch {
  std::shared_ptr<const GroupedSlots> slots;
  at::Tensor x, weights, upstream;
};

struct Experts {
  at::Tensor gate_up, down;
};

at::Tensor leaf(const at::Tensor& values) {
  return values.detach().clone().set_requires_grad(true);
}

/// [E, rows, columns], near normal; every expert's are others, made in a fraction of randn's time.
at::Tensor stack(std::int64_t experts, std::int64_t rows, std::int64_t columns) {
  const at::Tensor one = at::randn({1, rows, columns}) / std::sqrt(static_cast<double>(columns));
  return leaf(one * (0.5 + at::rand({experts, 1, columns})));
}

at::Tensor ids(std::span<const std::int32_t> span) {
  return at::tensor(std::vector<std::int64_t>(span.begin(), span.end()), at::kLong);
}

void run_loop(const Batch& batch, const Experts& experts) {
  const std::int64_t width = experts.down.size(2);
  const std::vector<at::Tensor> gate_up = experts.gate_up.unbind(0), down = experts.down.unbind(0);
  at::Tensor out = at::zeros_like(batch.x);
  for (const std::int32_t e : batch.slots->groups.active) {
    const at::Tensor unit = ids(batch.slots->groups.units_of(e)), slot = ids(batch.slots->groups.slots_of(e));
    const at::Tensor projected = at::mm(batch.x.index_select(0, unit), gate_up[e].t());
    const at::Tensor hidden = at::silu(projected.narrow(1, 0, width)) * projected.narrow(1, width, width);
    out.index_add_(0, unit, at::mm(hidden, down[e].t()) * batch.weights.index_select(0, slot).unsqueeze(1));
  }
  out.backward(batch.upstream);
}

void run_grouped(const Batch& batch, const Experts& experts, const std::shared_ptr<ExpertGradients>& gradients) {
  grouped_experts(batch.x, batch.weights, experts.gate_up, experts.down, batch.slots, gradients)
      .backward(batch.upstream);
}

/// The products of a whole step on dense matrices: [slots, D] by [D, 2H] and so on.
struct Limit {
  at::Tensor x, gate_up, down, projected, hidden, out, d_gate_up, d_down;
  Limit(std::int64_t slots, std::int64_t width)
      : x(at::randn({slots, kHidden})),
        gate_up(at::randn({2 * width, kHidden})),
        down(at::randn({kHidden, width})),
        projected(at::randn({slots, 2 * width})),
        hidden(at::randn({slots, width})),
        out(at::empty({slots, kHidden})),
        d_gate_up(at::empty({2 * width, kHidden})),
        d_down(at::empty({kHidden, width})) {}
  void run() {
    at::mm_out(projected, x, gate_up.t());
    at::mm_out(out, hidden, down.t());
    at::mm_out(hidden, x, down);
    at::mm_out(out, projected, gate_up);
    at::mm_out(d_down, x.t(), hidden);
    at::mm_out(d_gate_up, projected.t(), x);
  }
};

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
}

struct Result {
  Case sizes;
  std::vector<std::string> names;
  std::vector<double> median_s;  // 0: left out
  double difference = 0;         // of gradients, grouped against the loop, relative to the largest
};

void clear_gradients(std::vector<Batch>& batches, Experts& experts) {
  for (Batch& batch : batches) batch.x.mutable_grad() = batch.weights.mutable_grad() = at::Tensor();
  experts.gate_up.mutable_grad() = experts.down.mutable_grad() = at::Tensor();
}

Result measure(const Case& sizes, const Options& options) {
  std::mt19937 random(7);
  std::vector<Batch> batches;
  for (int i = 0; i < options.micro_batches; ++i) {
    const std::int64_t units = kUnits / options.micro_batches;
    const RoutePlan plan = random_plan(units, sizes.experts, sizes.chosen, random);
    batches.push_back({.slots = group_slots(plan, sizes.experts),
                       .x = leaf(at::randn({units, kHidden})),
                       .weights = leaf(at::full({plan.slots()}, 1.0 / sizes.chosen)),
                       .upstream = at::randn({units, kHidden})});
  }
  Experts experts{.gate_up = stack(sizes.experts, 2 * sizes.width, kHidden),
                  .down = stack(sizes.experts, kHidden, sizes.width)};
  Experts in_place{.gate_up = experts.gate_up.detach().set_requires_grad(true),
                   .down = experts.down.detach().set_requires_grad(true)};
  const auto gradients = std::make_shared<ExpertGradients>(in_place.gate_up, in_place.down);
  // Weights, gradients returned (and added up), in place, and the loop's: each expert's and the stack of them.
  const double weights_gb = static_cast<double>(experts.gate_up.nbytes() + experts.down.nbytes()) / 1e9;
  const bool with_loop = 5 * weights_gb <= options.loop_limit_gb.value_or(12);
  Limit limit(kUnits * sizes.chosen, sizes.width);

  const auto loop = [&] {
    clear_gradients(batches, experts);
    for (const Batch& batch : batches) run_loop(batch, experts);
  };
  const auto returned = [&] {
    clear_gradients(batches, experts);
    for (const Batch& batch : batches) run_grouped(batch, experts, nullptr);
  };
  const auto placed = [&] {
    gradients->clear();
    for (Batch& batch : batches) batch.x.mutable_grad() = batch.weights.mutable_grad() = at::Tensor();
    for (const Batch& batch : batches) run_grouped(batch, in_place, gradients);
  };
  Result result{.sizes = sizes, .names = {"limit", "loop", "returned", "in place"}, .median_s = {}};
  placed();
  if (with_loop) {
    loop();
    result.difference = std::max(largest_difference(in_place.gate_up.grad(), experts.gate_up.grad()),
                                 largest_difference(in_place.down.grad(), experts.down.grad()));
  }
  const std::vector<std::function<void()>> contenders = {[&] { limit.run(); },
                                                         with_loop ? loop : std::function<void()>(), returned, placed};
  std::vector<std::vector<double>> seconds(contenders.size());
  for (int run = -1; run < options.repeat; ++run) {  // the first is a warm-up
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      const double taken = contenders[i] ? seconds_of(contenders[i]) : 0.0;
      if (run >= 0) seconds[i].push_back(taken);
    }
  }
  for (const std::vector<double>& values : seconds) result.median_s.push_back(median(values));
  return result;
}

std::string format(const char* form, double value) {
  char text[32];
  std::snprintf(text, sizeof text, form, value);
  return text;
}

int run(const Options& options) {
  std::fprintf(stderr, "%s; %d threads; %d repetitions, %d micro-batches\n", describe_blas().c_str(),
               omp_get_max_threads(), options.repeat, options.micro_batches);
  Table table{.columns = {{"rows/expert"}, {"E, k, H"}}, .rows = {}};
  for (const char* title :
       {"limit ms", "loop ms", "returned ms", "in place ms", "of limit", "GF/s", "of loop", "gradients"}) {
    table.columns.push_back({title, Align::kRight});
  }
  Json json = Json::array();
  for (const Case& sizes : kCases) {
    if (options.only && *options.only != sizes.name) continue;
    const Result result = measure(sizes, options);
    const double limit = result.median_s[0], loop = result.median_s[1], placed = result.median_s[3];
    std::vector<std::string> row = {sizes.name, std::to_string(sizes.experts) + ", " + std::to_string(sizes.chosen) +
                                                    ", " + std::to_string(sizes.width)};
    Json entry = {{"case", sizes.name}, {"experts", sizes.experts}, {"k", sizes.chosen}, {"width", sizes.width}};
    for (std::size_t i = 0; i < result.names.size(); ++i) {
      row.push_back(result.median_s[i] > 0 ? format("%.0f", 1e3 * result.median_s[i]) : "-");
      entry[result.names[i] + "_ms"] = 1e3 * result.median_s[i];
    }
    row.push_back(format("%.2f", limit / placed));
    row.push_back(format("%.0f", kFlops / placed / 1e9));
    row.push_back(loop > 0 ? format("%.2fx", loop / placed) : "-");
    row.push_back(loop > 0 ? format("%.0e", result.difference) : "-");
    table.rows.push_back(row);
    json.push_back(entry);
  }
  std::printf("%s", options.json ? (json.dump(1) + "\n").c_str() : to_markdown(table).c_str());
  return 0;
}

}  // namespace
}  // namespace junto

int main(int argc, char** argv) {
  junto::keep_freed_memory();
  junto::use_threads();
  junto::Options options;
  junto::Command command{.name = "grouped_experts", .about = "", .arguments = {}, .examples = "", .execute = nullptr};
  command.arguments = {
      {.name = "--repeat", .target = &options.repeat, .value = "N", .help = "", .low = 1},
      {.name = "--micro-batches", .target = &options.micro_batches, .value = "N", .help = "", .low = 1, .high = 64},
      {.name = "--case", .target = &options.only, .value = "NAME", .help = ""},
      {.name = "--loop-limit", .target = &options.loop_limit_gb, .value = "GB", .help = ""},
      {.name = "--json", .target = &options.json, .help = ""}};
  try {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    return junto::parse_arguments(command, arguments) ? junto::run(options) : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "grouped_experts: %s\n", error.what());
    return 1;
  }
}
