#include "analyze/trace_stats.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "analyze/svg.h"

namespace junto {
namespace {

double entropy_bits(const std::vector<std::int64_t>& uses, double total) {
  double bits = 0;
  for (const std::int64_t n : uses) {
    const double p = static_cast<double>(n) / total;
    if (n > 0) bits -= p * std::log2(p);
  }
  return bits;
}

double top_quarter(std::vector<std::int64_t> uses, double total) {
  std::ranges::sort(uses, std::greater());
  const auto quarter = static_cast<std::ptrdiff_t>((uses.size() + 3) / 4);
  return static_cast<double>(std::accumulate(uses.begin(), uses.begin() + quarter, std::int64_t{0})) / total;
}

/// Uses whose expert the token before used too.
std::int64_t count_repeats(const RoutePlan& plan, int experts) {
  std::vector<std::int64_t> last(static_cast<std::size_t>(experts), -2);
  std::int64_t repeats = 0;
  for (std::int64_t t = 0; t < plan.units(); ++t) {
    for (const std::int32_t e : plan.experts_of(t)) {
      repeats += last[static_cast<std::size_t>(e)] == t - 1 ? 1 : 0;
      last[static_cast<std::size_t>(e)] = t;
    }
  }
  return repeats;
}

/// By the stack of least recent use: an expert's depth in it is the number of others used since.
std::vector<std::int64_t> reuse_distances(const RoutePlan& plan, int experts) {
  std::vector<std::int64_t> reuse(static_cast<std::size_t>(experts), 0);
  std::vector<std::int32_t> stack;  // last used at the end
  for (const std::int32_t e : plan.expert) {
    const auto found = std::find(stack.rbegin(), stack.rend(), e);
    if (found != stack.rend()) {
      ++reuse[static_cast<std::size_t>(found - stack.rbegin())];
      stack.erase(std::next(found).base());
    }
    stack.push_back(e);
  }
  return reuse;
}

/// [E, E], a < b: tokens that chose both.
std::vector<std::int32_t> count_together(const RoutePlan& plan, int experts) {
  const auto width = static_cast<std::size_t>(experts);
  std::vector<std::int32_t> together(width * width, 0);
  for (std::int64_t t = 0; t < plan.units(); ++t) {
    const auto chosen = plan.experts_of(t);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      for (std::size_t j = 0; j < chosen.size(); ++j) {
        if (chosen[i] >= chosen[j]) continue;
        ++together[static_cast<std::size_t>(chosen[i]) * width + static_cast<std::size_t>(chosen[j])];
      }
    }
  }
  return together;
}

double lift_of(const LayerStats& layer, std::int64_t tokens, std::int32_t a, std::int32_t b, double together) {
  const double expected = static_cast<double>(layer.uses[static_cast<std::size_t>(a)]) *
                          static_cast<double>(layer.uses[static_cast<std::size_t>(b)]) / static_cast<double>(tokens);
  return expected > 0 ? together / expected : 0;
}

void find_pairs(const RoutePlan& plan, int keep, LayerStats& layer) {
  if (layer.experts > kMaxPairedExperts || keep <= 0) return;
  const std::vector<std::int32_t> together = count_together(plan, layer.experts);
  const auto tells = [](const ExpertPair& pair) { return static_cast<double>(pair.together) * std::log(pair.lift); };
  std::vector<ExpertPair> pairs;
  for (std::int32_t a = 0; a < layer.experts; ++a) {
    for (std::int32_t b = a + 1; b < layer.experts; ++b) {
      const std::int32_t n =
          together[static_cast<std::size_t>(a) * static_cast<std::size_t>(layer.experts) + static_cast<std::size_t>(b)];
      if (n > 0) pairs.push_back({a, b, n, lift_of(layer, plan.units(), a, b, n)});
    }
  }
  const auto kept = static_cast<std::ptrdiff_t>(std::min(pairs.size(), static_cast<std::size_t>(keep)));
  std::partial_sort(pairs.begin(), pairs.begin() + kept, pairs.end(),
                    [&](const ExpertPair& x, const ExpertPair& y) { return tells(x) > tells(y); });
  layer.pairs.assign(pairs.begin(), pairs.begin() + kept);
}

LayerStats measure_layer(const TracedLayer& traced, int pairs) {
  LayerStats layer;
  layer.name = traced.name();
  layer.layer = traced.layer;
  layer.mixer = traced.mixer;
  layer.round = traced.round;
  layer.experts = traced.experts;
  layer.uses.assign(static_cast<std::size_t>(traced.experts), 0);
  for (const std::int32_t e : traced.plan.expert) ++layer.uses[static_cast<std::size_t>(e)];
  layer.reuse = reuse_distances(traced.plan, traced.experts);
  if (traced.plan.slots() == 0) return layer;
  const auto total = static_cast<double>(traced.plan.slots());
  layer.per_token = total / static_cast<double>(traced.plan.units());
  layer.entropy_bits = entropy_bits(layer.uses, total);
  layer.top_quarter = top_quarter(layer.uses, total);
  layer.repeats = static_cast<double>(count_repeats(traced.plan, traced.experts)) / total;
  find_pairs(traced.plan, pairs, layer);
  return layer;
}

double max_entropy(const LayerStats& layer) {
  return std::log2(static_cast<double>(layer.experts));
}

/// Experts by rank of use, against equal use: dark is four times as much.
HeatMap popularity(const TraceStats& stats) {
  HeatMap map{"Use of experts, most used first (dark: 4 equal shares)", "rank of expert", "layer", {}};
  for (const LayerStats& layer : stats.layers) {
    std::vector<std::int64_t> uses = layer.uses;
    std::ranges::sort(uses, std::greater());
    const auto total = static_cast<double>(std::accumulate(uses.begin(), uses.end(), std::int64_t{0}));
    std::vector<double> row;
    for (const std::int64_t n : uses) {
      row.push_back(total > 0 ? static_cast<double>(n) * layer.experts / total / 4 : 0);
    }
    map.values.push_back(std::move(row));
  }
  return map;
}

LineChart entropy_chart(const TraceStats& stats) {
  LineChart chart{
      "Entropy of use, share of the most that it can be", "layer", "share", {{"entropy", {}}, {"top quarter", {}}}, 1};
  for (std::size_t l = 0; l < stats.layers.size(); ++l) {
    const LayerStats& layer = stats.layers[l];
    const double most = max_entropy(layer);
    chart.series[0].points.emplace_back(l, most > 0 ? layer.entropy_bits / most : 1);
    chart.series[1].points.emplace_back(l, layer.top_quarter);
  }
  return chart;
}

LineChart reuse_chart(const TraceStats& stats) {
  LineChart chart{"Uses that a layer's own slots have (least recent evicted)", "slots of the layer", "share", {}, 1};
  const std::size_t last = stats.layers.size() - 1;
  for (std::size_t i = 0; i < 3 && i <= last; ++i) {
    const LayerStats& layer = stats.layers[last < 2 ? i : i * last / 2];
    Series series{layer.name, {}};
    const int step = std::max(1, layer.experts / 64);
    for (int slots = 0; slots <= layer.experts; slots += step) series.points.emplace_back(slots, layer.lru_hits(slots));
    chart.series.push_back(std::move(series));
  }
  return chart;
}

/// Lift between 1/4 (light) and 4 (dark).
HeatMap coactivation(const RouteTrace& trace, const TraceStats& stats) {
  const std::size_t middle = stats.layers.size() / 2;
  const LayerStats& layer = stats.layers[middle];
  HeatMap map{"Chosen together, " + layer.name + " (dark: 4 times as by chance)", "expert", "expert", {}};
  if (layer.experts > kMaxPairedExperts / 4) return map;
  const auto width = static_cast<std::size_t>(layer.experts);
  const std::vector<std::int32_t> together = count_together(trace.layers[middle].plan, layer.experts);
  map.values.assign(width, std::vector<double>(width, 0));
  for (std::size_t a = 0; a < width; ++a) {
    for (std::size_t b = 0; b < width; ++b) {
      if (a == b) continue;
      const double n = together[std::min(a, b) * width + std::max(a, b)];
      const double lift = lift_of(layer, stats.tokens, static_cast<std::int32_t>(a), static_cast<std::int32_t>(b), n);
      map.values[a][b] = lift > 0 ? (std::log2(lift) + 2) / 4 : 0;
    }
  }
  return map;
}

}  // namespace

int LayerStats::reuse_quantile(double share) const {
  const std::int64_t all = std::accumulate(reuse.begin(), reuse.end(), std::int64_t{0});
  std::int64_t sum = 0;
  for (std::size_t d = 0; all > 0 && d < reuse.size(); ++d) {
    sum += reuse[d];
    if (static_cast<double>(sum) >= share * static_cast<double>(all)) return static_cast<int>(d);
  }
  return -1;
}

double LayerStats::lru_hits(int slots) const {
  const std::int64_t all = std::accumulate(uses.begin(), uses.end(), std::int64_t{0});
  const auto end = reuse.begin() + std::min<std::ptrdiff_t>(slots, std::ssize(reuse));
  const std::int64_t hits = std::accumulate(reuse.begin(), end, std::int64_t{0});
  return all > 0 ? static_cast<double>(hits) / static_cast<double>(all) : 0;
}

TraceStats measure_trace(const RouteTrace& trace, int pairs) {
  TraceStats stats{trace.source, trace.tokens(), {}};
  for (const TracedLayer& layer : trace.layers) stats.layers.push_back(measure_layer(layer, pairs));
  return stats;
}

Json to_json(const TraceStats& stats) {
  Json layers = Json::array();
  for (const LayerStats& layer : stats.layers) {
    Json pairs = Json::array();
    for (const ExpertPair& pair : layer.pairs) pairs.push_back({pair.a, pair.b, pair.together, pair.lift});
    layers.push_back({{"layer", layer.layer},
                      {"mixer", layer.mixer},
                      {"round", layer.round},
                      {"experts", layer.experts},
                      {"per_token", layer.per_token},
                      {"entropy_bits", layer.entropy_bits},
                      {"max_entropy_bits", max_entropy(layer)},
                      {"top_quarter", layer.top_quarter},
                      {"repeats", layer.repeats},
                      {"reuse_median", layer.reuse_quantile(0.5)},
                      {"reuse_p90", layer.reuse_quantile(0.9)},
                      {"uses", layer.uses},
                      {"reuse", layer.reuse},
                      {"pairs", pairs}});
  }
  return {{"source", stats.source}, {"tokens", stats.tokens}, {"layers", layers}};
}

std::string draw_trace(const RouteTrace& trace, const TraceStats& stats) {
  Svg svg(1000, 740);
  svg.text(16, 22, stats.source + ", " + std::to_string(stats.tokens) + " tokens", 14);
  svg.draw(popularity(stats), {0, 36, 500, 340});
  svg.draw(entropy_chart(stats), {500, 36, 490, 340});
  svg.draw(reuse_chart(stats), {0, 390, 500, 340});
  svg.draw(coactivation(trace, stats), {500, 390, 490, 340});
  return svg.finish();
}

}  // namespace junto
