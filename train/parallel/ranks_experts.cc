#include "train/parallel/ranks_experts.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>
#include <vector>

#include "moe/dispatch.h"
#include "train/nn/route.h"

namespace junto {
namespace {

/// Rows to each rank and from each, in the order of ranks.
struct RowCounts {
  std::vector<std::int64_t> send, receive;
};

/// rows [sum of send, C] -> [sum of receive, C].
at::Tensor exchange_rows(Exchange& exchange, const at::Tensor& rows, const std::vector<std::int64_t>& send,
                         const std::vector<std::int64_t>& receive) {
  const at::Tensor from = rows.contiguous();
  std::int64_t all = 0;
  for (const std::int64_t count : receive) all += count;
  const at::Tensor into = at::empty({all, rows.size(1)}, rows.options().requires_grad(false));
  const auto row_bytes = static_cast<std::size_t>(rows.size(1)) * rows.element_size();
  std::vector<std::span<const std::byte>> out;
  std::vector<std::span<std::byte>> in;
  const auto* out_at = static_cast<const std::byte*>(from.data_ptr());
  auto* in_at = static_cast<std::byte*>(into.data_ptr());
  for (std::size_t rank = 0; rank < send.size(); ++rank) {
    const std::size_t out_bytes = static_cast<std::size_t>(send[rank]) * row_bytes;
    const std::size_t in_bytes = static_cast<std::size_t>(receive[rank]) * row_bytes;
    out.emplace_back(std::exchange(out_at, out_at + out_bytes), out_bytes);
    in.emplace_back(std::exchange(in_at, in_at + in_bytes), in_bytes);
  }
  exchange.all_to_all(out, in);
  return into;
}

struct TravellingRows : torch::CustomClassHolder {
  Exchange* exchange = nullptr;
  RowCounts counts;
};

/// Backward sends gradients the way back.
struct ExchangeRowsFunction : torch::autograd::Function<ExchangeRowsFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& rows,
                            const c10::intrusive_ptr<TravellingRows>& way) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->saved_data["way"] = c10::IValue::make_capsule(way);
    return exchange_rows(*way->exchange, rows, way->counts.send, way->counts.receive);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& d_outs) {
    const auto held = context->saved_data["way"].toCapsule();
    const auto& way = static_cast<const TravellingRows&>(*held);
    return {exchange_rows(*way.exchange, d_outs[0], way.counts.receive, way.counts.send), at::Tensor()};
  }
};

at::Tensor travel(Exchange& exchange, const at::Tensor& rows, RowCounts counts) {
  auto way = c10::make_intrusive<TravellingRows>();
  way->exchange = &exchange;
  way->counts = std::move(counts);
  return ExchangeRowsFunction::apply(rows, way);
}

/// This rank's slots by the rank that computes them, then by expert.
struct Departure {
  std::vector<std::int64_t> slots;                    // in the order of travel
  std::vector<std::vector<std::int32_t>> of_experts;  // [ranks][experts that it holds]: slots
};
Departure departure_of(const ExpertShare& share, const RoutePlan& plan) {
  Departure out;
  ExpertGroups groups;
  for (int rank = 0; rank < share.exchange->ranks(); ++rank) {
    group_by_expert(plan, share.experts(), share.served, rank, groups);
    out.slots.insert(out.slots.end(), groups.slot.begin(), groups.slot.end());
    std::vector<std::int32_t>& counts = out.of_experts.emplace_back();
    for (const std::int32_t expert : share.held[static_cast<std::size_t>(rank)])
      counts.push_back(groups.begin[expert + 1] - groups.begin[expert]);
  }
  return out;
}

/// [ranks][share.own]: rows that come from each rank to each expert that is here.
std::vector<std::vector<std::int32_t>> arrivals(const ExpertShare& share, const Departure& departure) {
  std::vector<std::vector<std::int32_t>> counts(departure.of_experts.size(),
                                                std::vector<std::int32_t>(share.own.size()));
  std::vector<std::span<const std::byte>> send;
  std::vector<std::span<std::byte>> receive;
  for (const std::vector<std::int32_t>& to : departure.of_experts) send.push_back(std::as_bytes(std::span(to)));
  for (std::vector<std::int32_t>& from : counts) receive.push_back(std::as_writable_bytes(std::span(from)));
  share.exchange->all_to_all(send, receive);
  return counts;
}

std::vector<std::int64_t> rows_of_ranks(const std::vector<std::vector<std::int32_t>>& of_experts) {
  std::vector<std::int64_t> rows;
  for (const std::vector<std::int32_t>& counts : of_experts) {
    std::int64_t& sum = rows.emplace_back(0);
    for (const std::int32_t count : counts) sum += count;
  }
  return rows;
}

/// Every row that arrives as a unit with one slot, of the expert's place in share.own.
RoutePlan plan_of_arrivals(const std::vector<std::vector<std::int32_t>>& counts) {
  RoutePlan plan;
  for (const std::vector<std::int32_t>& of_rank : counts) {
    for (std::size_t expert = 0; expert < of_rank.size(); ++expert)
      plan.expert.insert(plan.expert.end(), static_cast<std::size_t>(of_rank[expert]),
                         static_cast<std::int32_t>(expert));
  }
  for (std::size_t row = 0; row < plan.expert.size(); ++row) plan.offset.push_back(static_cast<std::int32_t>(row + 1));
  plan.weight.assign(plan.expert.size(), 1.0f);
  return plan;
}

}  // namespace

at::Tensor ranks_experts(const ExpertShare& share, const at::Tensor& x, const at::Tensor& weights,
                         const at::Tensor& gate_up, const at::Tensor& down, const RoutePlan& plan,
                         std::shared_ptr<ExpertGradients> gradients, const Activation& activation, WeightOn weight_on) {
  const std::int64_t D = x.size(1), slots = plan.slots();
  const Departure departure = departure_of(share, plan);
  const std::vector<std::vector<std::int32_t>> counts = arrivals(share, departure);
  const std::vector<std::int64_t> there = rows_of_ranks(departure.of_experts), here = rows_of_ranks(counts);
  const at::Tensor order = at::tensor(departure.slots, at::kLong);
  const at::Tensor place = at::empty({slots}, at::kLong);
  for (std::int64_t i = 0; i < slots; ++i)
    place.data_ptr<std::int64_t>()[departure.slots[static_cast<std::size_t>(i)]] = i;

  // Slots first, then their order: gradients of a unit's slots are added up in slot order, as they are elsewhere.
  const at::Tensor unit_of_slot = units_of_slots(plan);
  const at::Tensor inputs = x.index_select(0, unit_of_slot), factors = weights.unsqueeze(1);
  const bool on_input = weight_on == WeightOn::kInput;
  const at::Tensor rows =
      travel(*share.exchange, (on_input ? inputs * factors : at::cat({inputs, factors}, 1)).index_select(0, order),
             {.send = there, .receive = here});
  const at::Tensor row_weights =
      on_input ? at::ones({rows.size(0)}, rows.options().requires_grad(false)) : rows.select(1, D).contiguous();
  const RoutePlan arrived = plan_of_arrivals(counts);
  const at::Tensor out =
      grouped_experts(rows.narrow(1, 0, D), row_weights, gate_up, down,
                      group_slots(arrived, static_cast<int>(share.own.size())), std::move(gradients), activation);
  const at::Tensor back = travel(*share.exchange, out, {.send = here, .receive = there}).index_select(0, place);
  return at::zeros_like(x.detach()).index_add(0, unit_of_slot, back);
}

}  // namespace junto
