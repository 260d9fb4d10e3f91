#include "train/nn/module_experts.h"

#include <ATen/ATen.h>

#include "moe/dispatch.h"

namespace junto {
namespace {

/// What all routings ask for, each (unit, expert) once.
struct SharedSlots {
  RoutePlan plan;                                  // its weights mean nothing
  std::vector<std::vector<std::int64_t>> slot_of;  // of each routing: its slots' slots in `plan`
};

SharedSlots share_slots(std::span<const RoutedUnits* const> routings, std::int64_t units, std::size_t experts) {
  SharedSlots out;
  out.slot_of.resize(routings.size());
  std::vector<std::int32_t> slot_of_expert(experts, -1);
  for (std::int64_t unit = 0; unit < units; ++unit) {
    const std::size_t first = out.plan.expert.size();
    for (std::size_t r = 0; r < routings.size(); ++r) {
      for (const std::int32_t e : routings[r]->plan.experts_of(unit)) {
        std::int32_t& slot = slot_of_expert[static_cast<std::size_t>(e)];
        if (slot < 0) {
          slot = static_cast<std::int32_t>(out.plan.expert.size());
          out.plan.expert.push_back(e);
        }
        out.slot_of[r].push_back(slot);
      }
    }
    for (std::size_t slot = first; slot < out.plan.expert.size(); ++slot)
      slot_of_expert[static_cast<std::size_t>(out.plan.expert[slot])] = -1;
    out.plan.offset.push_back(static_cast<std::int32_t>(out.plan.expert.size()));
  }
  return out;
}

/// [units, ...]: the rows of a routing's slots, weighed and summed.
at::Tensor sum_of_slots(const at::Tensor& rows, const RoutedUnits& routed) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(rows.dim()), 1);
  shape[0] = rows.size(0);
  const at::Tensor weighed = rows * routed.weights.reshape(shape);
  shape = rows.sizes().vec();
  shape[0] = routed.plan.units();
  return at::zeros(shape, rows.options()).index_add(0, units_of_slots(routed.plan), weighed);
}

}  // namespace

std::vector<at::Tensor> module_experts(const at::Tensor& x, std::span<const ModuleExpert> experts,
                                       std::span<const RoutedUnits* const> routings, ModuleUse* use) {
  TORCH_CHECK(!experts.empty(), "module_experts: no experts");
  for (const RoutedUnits* routed : routings) {
    TORCH_CHECK(routed->plan.units() == x.size(0), "module_experts: a plan of ", routed->plan.units(),
                " units, expected ", x.size(0));
    TORCH_CHECK(routed->scores.size(1) == std::ssize(experts), "module_experts: a routing among ",
                routed->scores.size(1), " experts, expected ", experts.size());
  }
  const SharedSlots shared = share_slots(routings, x.size(0), experts.size());
  ExpertGroups groups;
  group_by_expert(shared.plan, static_cast<int>(experts.size()), groups);
  const at::Tensor rows = x.index_select(0, at::tensor(groups.unit, at::kInt).to(at::kLong));
  std::vector<at::Tensor> outputs;
  for (const std::int32_t e : groups.active) {
    const std::int64_t begin = groups.begin[e], count = groups.begin[e + 1] - begin;
    outputs.push_back(experts[static_cast<std::size_t>(e)].run(rows.narrow(0, begin, count)));
    TORCH_CHECK(outputs.back().size(0) == count, "module_experts: expert ", e, " gave ", outputs.back().size(0),
                " rows for ", count);
    if (use != nullptr) use->rows += count, use->flops += static_cast<double>(count) * experts[e].flops;
  }
  if (outputs.empty()) outputs.push_back(experts[0].run(rows));  // no row: for the shape alone
  const at::Tensor grouped = outputs.size() == 1 ? outputs[0] : at::cat(outputs, 0);
  std::vector<std::int64_t> place_of_slot(groups.slot.size());
  for (std::size_t place = 0; place < groups.slot.size(); ++place)
    place_of_slot[static_cast<std::size_t>(groups.slot[place])] = static_cast<std::int64_t>(place);
  std::vector<at::Tensor> out;
  for (std::size_t r = 0; r < routings.size(); ++r) {
    std::vector<std::int64_t> places;
    for (const std::int64_t slot : shared.slot_of[r]) places.push_back(place_of_slot[static_cast<std::size_t>(slot)]);
    out.push_back(sum_of_slots(grouped.index_select(0, at::tensor(places, at::kLong)), *routings[r]));
  }
  return out;
}

}  // namespace junto
