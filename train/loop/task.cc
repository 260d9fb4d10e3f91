#include "train/loop/task.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "train/nn/stage_clock.h"

namespace junto {
namespace {

void add_load(const TaskLoss& part, std::vector<at::Tensor>& load) {
  const std::vector<RoutedUnits>& routed = part.routed.routed;
  load.resize(part.load.empty() ? routed.size() : part.load.size());
  for (std::size_t i = 0; i < load.size(); ++i) {
    const at::Tensor rows =
        part.load.empty() ? load_of_experts(routed[i].asked(), part.routed.router.experts) : part.load[i];
    load[i] = load[i].defined() ? load[i] + rows : rows;
  }
}

std::vector<RouterPlace> routers_of(const Task& task, std::size_t routings) {
  std::vector<RouterPlace> places = task.routers();
  if (!places.empty()) return places;
  for (std::size_t i = 0; i < routings; ++i) places.push_back({.bias_name = "", .selection_bias = {}, .routed = {i}});
  return places;
}

/// Moves the biases of loss-free balancing and says how even the load was.
void balance_load(const std::vector<RouterPlace>& routers, const LossOptions& losses,
                  const std::vector<at::Tensor>& load, StepReport& report) {
  for (const RouterPlace& router : routers) {
    at::Tensor rows = load[router.routed[0]];
    for (std::size_t i = 1; i < router.routed.size(); ++i) rows = rows + load[router.routed[i]];
    at::Tensor bias = router.selection_bias;
    if (losses.bias_rate > 0.0f)
      update_selection_bias(bias, rows, bias_rate_at(losses, report.step), losses.bias_update);
    rows = rows.to(at::kDouble).contiguous();
    const double mean = rows.mean().item<double>(), count = static_cast<double>(routers.size());
    if (mean > 0.0) report.busiest += rows.max().item<double>() / mean / count;
    report.idle += (rows == 0).to(at::kDouble).mean().item<double>() / count;
    report.load.emplace_back(rows.data_ptr<double>(), rows.data_ptr<double>() + rows.numel());
  }
}

}  // namespace

void Task::diverged(const StepReport& report) {
  fail("step " + std::to_string(report.step), "loss is " + std::to_string(report.loss) + ", gradient norm " +
                                                  std::to_string(report.gradient_norm) + ", expected finite ones");
}

StepReport run_step(Task& task, Optimizer& state, const StepOptions& options) {
  const double began = processor_seconds(), share = 1.0 / static_cast<double>(options.parts);
  Parameters& parameters = task.parameters();
  StepReport report;
  report.step = state.step + 1;
  report.learning_rate = options.learning_rate;
  std::vector<at::Tensor> load;
  parameters.clear_gradients();
  for (std::int64_t part = 0; part < options.parts; ++part) {
    const TaskLoss out = task.compute(state.step, part);
    report.loss += out.loss.item<double>() * share;
    const at::Tensor loss = add_routing_losses(out.loss, options.losses, out.routed, share, report, options.ranks);
    (loss * share).backward();
    report.work += out.work;
    add_load(out, load);
  }
  parameters.finish_gradients();
  task.complete_gradients(report);
  const double update_began = processor_seconds();
  std::int64_t moving = 0;
  for (std::size_t p = 0; p < parameters.all().size(); ++p) {
    const bool frozen = !options.frozen.empty() && options.frozen[p];
    if (frozen) parameters.all()[p].value.grad().zero_();  // the norm is that of what moves
    if (!frozen) moving += parameters.all()[p].whole_count();
  }
  report.gradient_norm = task.norm_of_gradients();
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) task.diverged(report);
  const double clip = options.optimizer.clip_norm;
  const double scale = clip > 0.0 && report.gradient_norm > clip ? clip / report.gradient_norm : 1.0;
  update(state, options.optimizer, parameters, options.learning_rate, scale, options.frozen);
  report.update_seconds = processor_seconds() - update_began;
  report.work += work_of_update(options.optimizer, moving);
  balance_load(routers_of(task, load.size()), options.losses, load, report);
  report.seconds = processor_seconds() - began;
  return report;
}

}  // namespace junto
