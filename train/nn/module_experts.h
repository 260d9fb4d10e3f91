// Experts of any kind: modules from rows to rows, or from samples to samples, that one or several routers share. Each
// is run once, on the rows that some router gave it. FFN experts have a faster form (grouped_experts.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "train/nn/route.h"

namespace junto {

/// From [rows, ...] to [rows, ...], rows by themselves; the results of all experts of a layer have one shape.
struct ModuleExpert {
  std::function<at::Tensor(const at::Tensor&)> run;
  double flops = 0.0;  // of a row, forward
};

struct ModuleUse {
  std::int64_t rows = 0;  // that were computed, each once whoever chose it
  double flops = 0.0;     // of these, forward
};

/// For each of `routings`: out[u] = sum over the slots s of unit u, in slot order, of weights[s] * expert_e(x[u]);
/// units without slots get 0. x [units, ...]; plans of the same units and experts. An expert without rows is not run.
/// Gradients go to x, to the weights of each routing and to whatever the modules hold. Throws where the plans are of
/// other units or a module gives another number of rows.
std::vector<at::Tensor> module_experts(const at::Tensor& x, std::span<const ModuleExpert> experts,
                                       std::span<const RoutedUnits* const> routings, ModuleUse* use = nullptr);

}  // namespace junto
