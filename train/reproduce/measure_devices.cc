#include "train/reproduce/measure_devices.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/random.h"
#include "train/data/sequence_order.h"

namespace junto {
namespace {

constexpr std::uint64_t kShuffles = 8;

/// Of one batch whose first sequence is number `first` of `out`.
void add_batch(const LanguageModel::Output& output, std::int64_t length, std::size_t first, SequenceRows& out) {
  for (std::int64_t routing = 0; routing < out.routings; ++routing) {
    const RoutedUnits& routed = output.routed[static_cast<std::size_t>(routing)];
    for (std::int64_t unit = 0; unit < routed.plan.units(); ++unit) {
      const std::size_t sequence = first + static_cast<std::size_t>(unit / length);
      for (const std::int32_t expert : routed.plan.experts_of(unit)) {
        if (expert < out.experts) out.rows[sequence][static_cast<std::size_t>(routing * out.experts + expert)] += 1.0;
      }
      if (routed.asked().experts_of(unit).size() > 1)
        out.several[sequence * static_cast<std::size_t>(out.routings) + static_cast<std::size_t>(routing)] += 1.0f;
    }
  }
}

}  // namespace

void add_sequence_rows(const LanguageModel& model, const TokenIds& text, std::int64_t spans, std::int64_t batch,
                       std::int64_t length, SequenceRows& out) {
  const at::NoGradGuard guard;
  const LanguageModelShape& shape = model.shape();
  out.experts = shape.weighted_experts();
  out.routings = shape.routed_count() * shape.rounds.count;
  for (std::int64_t first = 0; first < spans; first += batch) {
    const TokenBatch tokens = span_batch(text, first, std::min(batch, spans - first), length);
    if (tokens.inputs.numel() == 0) break;
    const auto before = static_cast<std::size_t>(out.sequences());
    const std::size_t after = before + static_cast<std::size_t>(tokens.inputs.size(0));
    out.rows.resize(after, std::vector<double>(static_cast<std::size_t>(out.routings * out.experts)));
    out.several.resize(after * static_cast<std::size_t>(out.routings));
    out.tokens += tokens.inputs.numel();
    add_batch(model.forward(tokens.inputs), length, before, out);
  }
}

DeviceRows rows_in_order(const SequenceRows& of, std::span<const std::int64_t> order, std::int64_t batch, int devices) {
  const Placement placement = placement_in_stretches(static_cast<int>(of.experts), devices);
  DeviceRows sum;
  std::vector<double> rows;
  for (std::int64_t first = 0; first < std::ssize(order); first += batch) {
    rows.assign(static_cast<std::size_t>(of.routings * of.experts), 0.0);
    for (std::int64_t i = first; i < std::min(first + batch, std::ssize(order)); ++i) {
      const std::vector<double>& own = of.rows[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])];
      for (std::size_t e = 0; e < rows.size(); ++e) rows[e] += own[e];
    }
    for (std::int64_t routing = 0; routing < of.routings; ++routing) {
      sum += device_rows(std::span<const double>(rows).subspan(static_cast<std::size_t>(routing * of.experts),
                                                               static_cast<std::size_t>(of.experts)),
                         placement);
    }
  }
  return sum;
}

Json measure_devices(const SequenceRows& of, std::int64_t batch, int devices, std::int64_t layers) {
  if (of.experts < devices || of.sequences() == 0) return Json::object();
  const double of_token = devices / (static_cast<double>(of.tokens) * static_cast<double>(layers));
  DeviceRows shuffled;
  for (std::uint64_t seed = 0; seed < kShuffles; ++seed)
    shuffled += rows_in_order(of, shuffled_numbers(of.sequences(), Random(seed)), batch, devices);
  const std::vector<std::int64_t> curriculum = order_by_similar_routing({of.sequences(), of.routings, of.several});
  const double usual = shuffled.slowest / kShuffles, ordered = rows_in_order(of, curriculum, batch, devices).slowest;
  return {{"device_rows", usual * of_token},
          {"ordered_device_rows", ordered * of_token},
          {"device_wait", shuffled.waiting()},
          {"order_saves", usual > 0.0 ? 1.0 - ordered / usual : 0.0}};
}

}  // namespace junto
