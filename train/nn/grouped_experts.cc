#include "train/nn/grouped_experts.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstring>

#include "train/nn/blas.h"
#include "train/nn/expert_activation.h"

namespace junto {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr auto kNo = Transposed::kNo;
constexpr auto kYes = Transposed::kYes;

// Rows of an expert that one task computes. A multiple of the blocks of every BLAS kernel, few enough that experts of
// unequal load share out evenly.
constexpr std::int64_t kRows = 256;
// Rows of a weight matrix whose gradient one task computes.
constexpr std::int64_t kGradientRows = 512;

/// Places begin..end of one expert; for gradients of weights the rows row..row + rows of one matrix.
struct Task {
  std::int32_t expert = 0;
  std::int32_t begin = 0, end = 0;
  bool of_down = false;
  std::int64_t row = 0, rows = 0;
  double cost = 0;
};

/// Dear tasks first, so that no thread is left with one at the end. Which thread computes a task does not change it.
void dearest_first(std::vector<Task>& tasks) {
  std::stable_sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) { return a.cost > b.cost; });
}

/// Every expert's places in pieces of about kRows; a rest of less than half a piece joins the last.
std::vector<Task> row_tasks(const ExpertGroups& groups) {
  std::vector<Task> tasks;
  for (const std::int32_t expert : groups.active) {
    const std::int32_t end = groups.begin[expert + 1];
    for (std::int32_t at = groups.begin[expert]; at < end;) {
      const std::int32_t left = end - at;
      const std::int32_t rows = left <= kRows * 3 / 2 ? left : kRows;
      tasks.push_back({.expert = expert, .begin = at, .end = at + rows, .cost = static_cast<double>(rows)});
      at += rows;
    }
  }
  dearest_first(tasks);
  return tasks;
}

/// True where one task does the whole backward of an expert, its weights still in cache.
bool is_small(const ExpertGroups& groups, std::int32_t expert) {
  return groups.begin[expert + 1] - groups.begin[expert] <= kRows * 3 / 2;
}

struct Sizes {
  std::int64_t experts, units, slots, hidden, width;  // E, U, N, D, H
  std::int64_t projected;                             // P: 2H with a gate, else H
};

/// The gradients of the weights of experts that are not small.
std::vector<Task> gradient_tasks(const ExpertGroups& groups, const Sizes& n) {
  std::vector<Task> tasks;
  for (const std::int32_t expert : groups.active) {
    if (is_small(groups, expert)) continue;
    for (const bool of_down : {false, true}) {
      const std::int64_t rows = of_down ? n.hidden : n.projected, columns = of_down ? n.width : n.hidden;
      for (std::int64_t row = 0; row < rows; row += kGradientRows) {
        Task task{.expert = expert, .begin = groups.begin[expert], .end = groups.begin[expert + 1], .of_down = of_down};
        task.row = row;
        task.rows = std::min(kGradientRows, rows - row);
        task.cost = static_cast<double>(task.rows * columns) * (task.end - task.begin);
        tasks.push_back(task);
      }
    }
  }
  dearest_first(tasks);
  return tasks;
}

/// What travels from forward to backward beside tensors.
struct Carried : torch::CustomClassHolder {
  std::shared_ptr<const GroupedSlots> slots;
  std::shared_ptr<ExpertGradients> gradients;
  Activation activation;
};

template <class T>
void forward_places(const Activation& activation, const GroupedSlots& slots, const Sizes& n, const T* x,
                    const T* weights, const T* gate_up, const T* down, T* rows, T* row_weight, T* projected, T* hidden,
                    T* out_rows, T* out) {
  const ExpertGroups& groups = slots.groups;
  const std::vector<Task> tasks = row_tasks(groups);
  const std::int64_t D = n.hidden, H = n.width, P = n.projected;
#pragma omp parallel
  {
#pragma omp for schedule(dynamic, 1)
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      const Task& task = tasks[i];
      const std::int64_t at = task.begin, count = task.end - task.begin, e = task.expert;
      for (std::int64_t place = at; place < task.end; ++place) {
        std::memcpy(rows + place * D, x + groups.unit[place] * D, D * sizeof(T));
        row_weight[place] = weights[groups.slot[place]];
      }
      gemm(kNo, kYes, count, P, D, rows + at * D, D, gate_up + e * P * D, D, T(0), projected + at * P, P);
      weighted_activation(activation, projected + at * P, row_weight + at, count, H, hidden + at * H);
      gemm(kNo, kYes, count, D, H, hidden + at * H, H, down + e * D * H, H, T(0), out_rows + at * D, D);
    }
#pragma omp for schedule(static)
    for (std::int64_t unit = 0; unit < n.units; ++unit) {
      T* sum = out + unit * D;
      std::fill(sum, sum + D, T(0));
      for (std::int32_t slot = slots.offset[unit]; slot < slots.offset[unit + 1]; ++slot) {
        const T* row = out_rows + slots.place[slot] * D;
        for (std::int64_t d = 0; d < D; ++d) sum[d] += row[d];
      }
    }
  }
}

/// Where backward puts the gradients of the weights, and the factor of what is there.
template <class T>
struct WeightGradients {
  T* gate_up;
  T* down;
  T keep;  // 0: overwrite, 1: add
};

/// Gradients of the rows of weight matrices that `task` names, over its places.
template <class T>
void weight_gradient(const Task& task, const Sizes& n, const T* rows, const T* hidden, const T* d_out_rows,
                     const T* d_projected, const WeightGradients<T>& into) {
  const std::int64_t D = n.hidden, H = n.width, P = n.projected, at = task.begin, count = task.end - task.begin,
                     e = task.expert;
  if (task.of_down) {
    gemm(kYes, kNo, task.rows, H, count, d_out_rows + at * D + task.row, D, hidden + at * H, H, into.keep,
         into.down + (e * D + task.row) * H, H);
  } else {
    gemm(kYes, kNo, task.rows, D, count, d_projected + at * P + task.row, P, rows + at * D, D, into.keep,
         into.gate_up + (e * P + task.row) * D, D);
  }
}

template <class T>
void backward_places(const Activation& activation, const GroupedSlots& slots, const Sizes& n, const T* d_out,
                     const T* rows, const T* row_weight, const T* projected, const T* hidden, const T* gate_up,
                     const T* down, T* d_out_rows, T* d_hidden, T* d_projected, T* d_rows, T* d_row_weight,
                     const WeightGradients<T>* into, T* d_x, T* d_weights) {
  const ExpertGroups& groups = slots.groups;
  const std::vector<Task> tasks = row_tasks(groups);
  const std::vector<Task> later = into != nullptr ? gradient_tasks(groups, n) : std::vector<Task>();
  const std::int64_t D = n.hidden, H = n.width, P = n.projected;
#pragma omp parallel
  {
    if (into != nullptr && into->keep == T(0)) {
#pragma omp for schedule(static) nowait
      for (std::int64_t e = 0; e < n.experts; ++e) {
        if (groups.begin[e + 1] > groups.begin[e]) continue;
        std::fill(into->gate_up + e * P * D, into->gate_up + (e + 1) * P * D, T(0));
        std::fill(into->down + e * D * H, into->down + (e + 1) * D * H, T(0));
      }
    }
#pragma omp for schedule(dynamic, 1)
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      const Task& task = tasks[i];
      const std::int64_t at = task.begin, count = task.end - task.begin, e = task.expert;
      for (std::int64_t place = at; place < task.end; ++place) {
        std::memcpy(d_out_rows + place * D, d_out + groups.unit[place] * D, D * sizeof(T));
      }
      gemm(kNo, kNo, count, H, D, d_out_rows + at * D, D, down + e * D * H, H, T(0), d_hidden + at * H, H);
      weighted_activation_backward(activation, projected + at * P, row_weight + at, d_hidden + at * H, count, H,
                                   d_projected + at * P, d_row_weight + at);
      if (d_x != nullptr) {
        gemm(kNo, kNo, count, D, P, d_projected + at * P, P, gate_up + e * P * D, D, T(0), d_rows + at * D, D);
      }
      if (into == nullptr || !is_small(groups, task.expert)) continue;
      Task whole = task;
      whole.rows = P;
      weight_gradient(whole, n, rows, hidden, d_out_rows, d_projected, *into);
      whole.of_down = true;
      whole.rows = D;
      weight_gradient(whole, n, rows, hidden, d_out_rows, d_projected, *into);
    }
#pragma omp for schedule(dynamic, 1) nowait
    for (std::size_t i = 0; i < later.size(); ++i) {
      weight_gradient(later[i], n, rows, hidden, d_out_rows, d_projected, *into);
    }
#pragma omp for schedule(static)
    for (std::int64_t unit = 0; unit < n.units; ++unit) {
      for (std::int32_t slot = slots.offset[unit]; slot < slots.offset[unit + 1]; ++slot) {
        d_weights[slot] = d_row_weight[slots.place[slot]];
      }
      if (d_x == nullptr) continue;
      T* sum = d_x + unit * D;
      std::fill(sum, sum + D, T(0));
      for (std::int32_t slot = slots.offset[unit]; slot < slots.offset[unit + 1]; ++slot) {
        const T* row = d_rows + slots.place[slot] * D;
        for (std::int64_t d = 0; d < D; ++d) sum[d] += row[d];
      }
    }
  }
}

Sizes sizes_of(const GroupedSlots& slots, const Activation& activation, std::int64_t hidden, std::int64_t width) {
  return {.experts = slots.experts,
          .units = slots.units(),
          .slots = slots.slots(),
          .hidden = hidden,
          .width = width,
          .projected = projected_width(activation, width)};
}

struct GroupedExpertsFunction : torch::autograd::Function<GroupedExpertsFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_in, const at::Tensor& weights_in,
                            const at::Tensor& gate_up_in, const at::Tensor& down_in,
                            const std::shared_ptr<const GroupedSlots>& slots,
                            const std::shared_ptr<ExpertGradients>& gradients, const Activation& activation) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const at::Tensor x = x_in.contiguous(), weights = weights_in.contiguous();
    const at::Tensor gate_up = gate_up_in.contiguous(), down = down_in.contiguous();
    const Sizes n = sizes_of(*slots, activation, x.size(1), down.size(2));
    const auto options = x.options().requires_grad(false);
    const at::Tensor rows = at::empty({n.slots, n.hidden}, options), row_weight = at::empty({n.slots}, options);
    const at::Tensor projected = at::empty({n.slots, n.projected}, options);
    const at::Tensor hidden = at::empty({n.slots, n.width}, options);
    const at::Tensor out_rows = at::empty({n.slots, n.hidden}, options);
    const at::Tensor out = at::empty({n.units, n.hidden}, options);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "grouped_experts", [&] {
      forward_places<scalar_t>(activation, *slots, n, x.data_ptr<scalar_t>(), weights.data_ptr<scalar_t>(),
                               gate_up.data_ptr<scalar_t>(), down.data_ptr<scalar_t>(), rows.data_ptr<scalar_t>(),
                               row_weight.data_ptr<scalar_t>(), projected.data_ptr<scalar_t>(),
                               hidden.data_ptr<scalar_t>(), out_rows.data_ptr<scalar_t>(), out.data_ptr<scalar_t>());
    });
    context->save_for_backward({rows, row_weight, projected, hidden, gate_up, down});
    auto carried = c10::make_intrusive<Carried>();
    carried->slots = slots;
    carried->gradients = gradients;
    carried->activation = activation;
    context->saved_data["carried"] =
        c10::IValue::make_capsule(c10::intrusive_ptr<torch::CustomClassHolder>(std::move(carried)));
    context->saved_data["x"] = x_in.requires_grad();
    context->saved_data["experts"] = gate_up_in.requires_grad() || down_in.requires_grad();
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& d_outs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "grouped_experts: there is no second derivative");
    at::AutoDispatchBelowADInplaceOrView guard;
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &rows = saved[0], &row_weight = saved[1], &projected = saved[2], &hidden = saved[3];
    const at::Tensor &gate_up = saved[4], &down = saved[5];
    const auto carried = context->saved_data["carried"].toCapsule();
    const GroupedSlots& slots = *static_cast<const Carried&>(*carried).slots;
    const Activation activation = static_cast<const Carried&>(*carried).activation;
    ExpertGradients* in_place = static_cast<const Carried&>(*carried).gradients.get();
    const bool of_x = context->saved_data["x"].toBool(), of_experts = context->saved_data["experts"].toBool();
    const Sizes n = sizes_of(slots, activation, rows.size(1), hidden.size(1));
    const at::Tensor d_out = d_outs[0].contiguous();
    const auto options = rows.options();
    const at::Tensor d_out_rows = at::empty({n.slots, n.hidden}, options);
    const at::Tensor d_hidden = at::empty({n.slots, n.width}, options);
    const at::Tensor d_projected = at::empty({n.slots, n.projected}, options);
    const at::Tensor d_row_weight = at::empty({n.slots}, options), d_weights = at::empty({n.slots}, options);
    at::Tensor d_rows, d_x, d_gate_up, d_down;
    if (of_x) {
      d_rows = at::empty({n.slots, n.hidden}, options);
      d_x = at::empty({n.units, n.hidden}, options);
    }
    if (of_experts) {
      d_gate_up = in_place != nullptr ? in_place->gate_up() : at::empty_like(gate_up);
      d_down = in_place != nullptr ? in_place->down() : at::empty_like(down);
    }
    AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "grouped_experts_backward", [&] {
      WeightGradients<scalar_t> into{};
      if (of_experts) {
        into = {.gate_up = d_gate_up.data_ptr<scalar_t>(),
                .down = d_down.data_ptr<scalar_t>(),
                .keep = static_cast<scalar_t>(in_place != nullptr && in_place->filled() ? 1 : 0)};
      }
      backward_places<scalar_t>(activation, slots, n, d_out.data_ptr<scalar_t>(), rows.data_ptr<scalar_t>(),
                                row_weight.data_ptr<scalar_t>(), projected.data_ptr<scalar_t>(),
                                hidden.data_ptr<scalar_t>(), gate_up.data_ptr<scalar_t>(), down.data_ptr<scalar_t>(),
                                d_out_rows.data_ptr<scalar_t>(), d_hidden.data_ptr<scalar_t>(),
                                d_projected.data_ptr<scalar_t>(), of_x ? d_rows.data_ptr<scalar_t>() : nullptr,
                                d_row_weight.data_ptr<scalar_t>(), of_experts ? &into : nullptr,
                                of_x ? d_x.data_ptr<scalar_t>() : nullptr, d_weights.data_ptr<scalar_t>());
    });
    if (of_experts && in_place != nullptr) {
      in_place->mark_filled();
      d_gate_up = d_down = at::Tensor();
    }
    return {d_x, d_weights, d_gate_up, d_down, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

std::shared_ptr<const GroupedSlots> group_slots(const RoutePlan& plan, int experts) {
  const auto slots = std::make_shared<GroupedSlots>();
  slots->experts = experts;
  slots->offset = plan.offset;
  group_by_expert(plan, experts, slots->groups);
  slots->place.resize(slots->groups.slot.size());
  for (std::size_t place = 0; place < slots->place.size(); ++place) {
    slots->place[slots->groups.slot[place]] = static_cast<std::int32_t>(place);
  }
  return slots;
}

ExpertGradients::ExpertGradients(at::Tensor& gate_up, at::Tensor& down) {
  for (at::Tensor* weights : {&gate_up, &down}) {
    if (!weights->grad().defined()) weights->mutable_grad() = at::empty_like(*weights).detach();
  }
  gate_up_ = gate_up.grad();
  down_ = down.grad();
}

at::Tensor grouped_experts(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& gate_up,
                           const at::Tensor& down, std::shared_ptr<const GroupedSlots> slots,
                           std::shared_ptr<ExpertGradients> gradients, const Activation& activation) {
  TORCH_CHECK(x.dim() == 2 && x.size(0) == slots->units(), "grouped_experts: x is ", x.sizes(), ", expected [",
              slots->units(), ", D]");
  const std::int64_t D = x.size(1), E = slots->experts;
  TORCH_CHECK(weights.dim() == 1 && weights.size(0) == slots->slots(), "grouped_experts: weights is ", weights.sizes(),
              ", expected [", slots->slots(), "]");
  TORCH_CHECK(down.dim() == 3 && down.size(0) == E && down.size(1) == D, "grouped_experts: down is ", down.sizes(),
              ", expected [", E, ", ", D, ", H]");
  TORCH_CHECK(activation.kind != ActivationKind::kSwigluOai, "grouped_experts: swiglu_oai has no backward");
  const std::int64_t P = projected_width(activation, down.size(2));
  TORCH_CHECK(gate_up.dim() == 3 && gate_up.size(0) == E && gate_up.size(1) == P && gate_up.size(2) == D,
              "grouped_experts: gate_up is ", gate_up.sizes(), ", expected [", E, ", ", P, ", ", D, "]");
  for (const at::Tensor* tensor : {&weights, &gate_up, &down}) {
    TORCH_CHECK(tensor->scalar_type() == x.scalar_type(), "grouped_experts: types differ");
  }
  return GroupedExpertsFunction::apply(x, weights, gate_up, down, slots, gradients, activation);
}

}  // namespace junto
