#include "analyze/simulate.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "analyze/prediction_quality.h"
#include "analyze/side_by_side.h"
#include "analyze/traced_stages.h"
#include "base/error.h"
#include "base/random.h"

namespace junto {
namespace {

/// What the passes ask for, each as one token.
PastRoutes routes_of(const TracedStages& traced, std::span<const TracedPass> passes) {
  PastRoutes out{experts_of(traced), {}};
  for (const TracedPass& pass : passes) {
    for (const TracedLayer* router : traced.routers) {
      std::vector<std::int32_t>& asked = out.asked.emplace_back();
      for (const std::int64_t token : pass) {
        const auto ids = router->plan.experts_of(token);
        asked.insert(asked.end(), ids.begin(), ids.end());
      }
      std::ranges::sort(asked);
      asked.erase(std::unique(asked.begin(), asked.end()), asked.end());
    }
  }
  return out;
}

Foreknowledge foresee(const TracedStages& traced, const PastRoutes& routes, Evict evict,
                      const std::vector<double>& popularity) {
  Foreknowledge known;
  if (evict == Evict::kStatic) known.popularity = popularity;
  if (evict != Evict::kBelady) return known;
  const Eviction cells(Evict::kLru, traced.experts);
  known.uses.resize(static_cast<std::size_t>(cells.cells()));
  std::int64_t pass = 0;
  for (std::int64_t t = 0; t < routes.tokens(); ++t) {
    for (std::size_t s = 0; s < traced.routers.size(); ++s) {
      ++pass;
      for (const std::int32_t e : routes.asked_by(t, static_cast<int>(s))) {
        known.uses[static_cast<std::size_t>(cells.cell_of(traced.layer[s], e))].push_back(pass);
      }
    }
  }
  return known;
}

SlotTableOptions table_options(const TracedStages& traced, const SimulatedRun& run,
                               const std::shared_ptr<const PastRoutes>& routes, const std::vector<double>& popularity) {
  SlotTableOptions options{
      traced.experts, traced.rounds, run.evict, foresee(traced, *routes, run.evict, popularity), run.prefetch, {}};
  if (run.prefetch.rule == Prefetch::kTable) options.past = run.learned;
  if (run.prefetch.rule == Prefetch::kOracle) options.past = routes;
  return options;
}

/// What rules that go by scores are told, as the engine's passes tell them.
class SimulatedScores {
 public:
  SimulatedScores(const RouteTrace& trace, const SimulatedRun& run, std::shared_ptr<const PastRoutes> routes)
      : trace_(trace), run_(run), routes_(std::move(routes)) {}

  void enter(std::int64_t number, const TracedPass& pass) {
    number_ = number;
    sums_.clear();
    if (run_.prefetch.rule != Prefetch::kPath) return;
    for (const std::int64_t token : pass) {
      const std::span<const float> chances = run_.paths->predict(sequence_up_to(trace_, token));
      sums_.resize(chances.size());
      for (std::size_t i = 0; i < chances.size(); ++i) sums_[i] += chances[i];
    }
  }

  /// Of a stage of the pass that was entered.
  std::span<const float> of(int stage) {
    std::size_t first = 0;
    for (int s = 0; s < stage; ++s) first += static_cast<std::size_t>(experts(s));
    const auto count = static_cast<std::size_t>(experts(stage));
    if (run_.prefetch.rule == Prefetch::kPath) {
      return sums_.empty() ? std::span<const float>() : std::span(sums_).subspan(first, count);
    }
    mix(routes_->asked_by(number_, stage), count);
    return mixed_;
  }

 private:
  int experts(int stage) const { return routes_->experts[static_cast<std::size_t>(stage)]; }

  // Each expert that will be asked for is among the guesses with the chance of router_recall, else another one is.
  void mix(std::span<const std::int32_t> asked, std::size_t count) {
    mixed_.assign(count, 0.0f);
    others_.clear();
    for (std::size_t e = 0; e < count; ++e) {
      if (!std::ranges::binary_search(asked, static_cast<std::int32_t>(e))) others_.push_back(e);
    }
    for (const std::int32_t e : asked) {
      if (others_.empty() || random_.uniform() < run_.router_recall) {
        mixed_[static_cast<std::size_t>(e)] = 1;
        continue;
      }
      const std::size_t other = random_.next() % others_.size();
      mixed_[others_[other]] = 1;
      others_.erase(others_.begin() + static_cast<std::ptrdiff_t>(other));
    }
  }

  const RouteTrace& trace_;
  const SimulatedRun& run_;
  std::shared_ptr<const PastRoutes> routes_;
  std::int64_t number_ = 0;
  std::vector<float> sums_, mixed_;
  std::vector<std::size_t> others_;
  Random random_{7};
};

/// The expert cache with simulated time: ExpertCache::run, step by step.
class SimulatedCache : private SlotReads {
 public:
  SimulatedCache(const SimulatedMachine& machine, const SlotTableOptions& options, std::int64_t slots,
                 double expert_bytes, SimulatedScores& scores)
      : machine_(machine),
        expert_bytes_(expert_bytes),
        clock_(machine, expert_bytes / machine.matrices, [this](std::int32_t slot) { arrived(slot); }),
        table_(options, static_cast<std::int32_t>(slots), *this),
        scores_(scores) {}

  void pass(const PastRoutes& routes, std::int64_t number, std::int64_t rows) {
    const ExpertStages& stages = table_.stages();
    table_.start_plan(table_.plan_pass([&](ExpertStage stage) { return scores_.of(stages.index_of(stage)); }));
    for (int s = 0; s < stages.count(); ++s) {
      clock_.compute(machine_.dense_s / stages.count());
      run_stage(s, routes.asked_by(number, s));
    }
    result_.tokens += rows;
  }
  void start_counting() {
    result_ = {};
    matrices_read_ = 0;
    table_.reset_counters();
    begin_s_ = clock_.now_s();
  }
  SimulationResult result() const {
    SimulationResult out = result_;
    static_cast<SlotCounters&>(out) = table_.counters();
    out.bytes_read = static_cast<double>(matrices_read_) * expert_bytes_ / machine_.matrices;
    out.seconds = clock_.now_s() - begin_s_;
    return out;
  }

 private:
  bool has_weights(std::int32_t) const override { return true; }
  int load(std::int32_t slot, std::int32_t) override {
    loads_.push_back(slot);
    return machine_.matrices;
  }
  void submit(Priority priority) override {
    for (const std::int32_t slot : loads_) clock_.submit(slot, priority);
    loads_.clear();
  }
  void hurry(std::int32_t slot) override { clock_.hurry(slot); }
  int cancel(std::int32_t slot) override { return clock_.cancel(slot); }
  void arrived(std::int32_t slot) {
    ++matrices_read_;
    table_.part_arrived(slot, false);
  }

  void run_stage(int stage, std::span<const std::int32_t> experts);

  SimulatedMachine machine_;
  double expert_bytes_;
  MachineModel clock_;
  SlotTable table_;
  SimulatedScores& scores_;
  std::vector<std::int32_t> loads_, group_;
  SimulationResult result_;
  std::int64_t matrices_read_ = 0;
  double begin_s_ = 0;
};

void SimulatedCache::run_stage(int stage, std::span<const std::int32_t> experts) {
  table_.ask(table_.stages().stage(stage), experts, 1);
  bool may_guess = true;
  while (!table_.done()) {
    table_.start_loads();
    if (table_.loads_started() && std::exchange(may_guess, false)) {
      const int target = table_.guess_target();
      const bool knows = goes_by_scores(table_.prefetch()) && target > stage;  // of the same pass
      if (target >= 0) table_.guess(target, knows ? scores_.of(target) : std::span<const float>());
    }
    const double begin_s = clock_.now_s();
    while (table_.take_ready().empty() && !table_.can_start_loads()) clock_.wait();
    result_.stall_s += clock_.now_s() - begin_s;
    const std::span<const std::int32_t> ready = table_.take_ready();
    group_.assign(ready.begin(), ready.end());
    clock_.compute(static_cast<double>(group_.size()) * machine_.expert_s);
    table_.computed(group_);
  }
}

void expect_valid(const RouteTrace& trace, const TracedStages& traced, const SimulatedRun& run,
                  const std::vector<double>& popularity) {
  if (traced.routers.empty()) fail("simulate", "the trace has no routed feed-forward layer");
  if (run.slots < 1)
    fail("simulate", "expert memory holds " + std::to_string(run.slots) + " experts, expected 1 or more");
  const auto cells = static_cast<std::size_t>(std::accumulate(traced.experts.begin(), traced.experts.end(), 0));
  if (run.evict == Evict::kStatic && popularity.size() != cells) {
    fail("simulate",
         "the trace has " + std::to_string(cells) + " experts, the hot set is of " + std::to_string(popularity.size()));
  }
  if (run.prefetch.rule == Prefetch::kNextRouter && run.router_recall <= 0) {
    fail(std::string(prefetch_name(run.prefetch)),
         "asks the model's routers, which no trace has: say how often they are right (--router-recall)");
  }
  if (run.prefetch.rule == Prefetch::kPath) expect_paths(run.paths, experts_of(traced), trace);
  if (run.learned && run.learned->experts != experts_of(traced)) {
    fail(trace.source, "has not the routers that were learned from");
  }
}

}  // namespace

std::vector<double> popularity_of(const RouteTrace& trace) {
  const TracedStages traced = stages_of(trace);
  const Eviction cells(Evict::kLru, traced.experts);
  std::vector<double> popularity(static_cast<std::size_t>(cells.cells()), 0.0);
  for (std::size_t s = 0; s < traced.routers.size(); ++s) {
    for (const std::int32_t e : traced.routers[s]->plan.expert) {
      ++popularity[static_cast<std::size_t>(cells.cell_of(traced.layer[s], e))];
    }
  }
  return popularity;
}

std::int64_t expert_bytes_of(const RouteTrace& trace) {
  std::int64_t most = 0;
  for (const TracedLayer* router : stages_of(trace).routers) most = std::max(most, router->expert_bytes);
  return most;
}

std::int64_t experts_of(const RouteTrace& trace) {
  const std::vector<int> experts = stages_of(trace).experts;
  return std::accumulate(experts.begin(), experts.end(), std::int64_t{0});
}

SimulationResult simulate(const RouteTrace& trace, const SimulatedMachine& machine, const SimulatedRun& run,
                          std::int64_t expert_bytes, const std::vector<double>& popularity) {
  const TracedStages traced = stages_of(trace);
  expect_valid(trace, traced, run, popularity);
  const std::vector<TracedPass> passes = passes_of(trace, run.sequences);
  std::int64_t all = 0;
  for (const TracedPass& pass : passes) all += std::ssize(pass);
  if (run.tokens < 1 || run.warm_up < 0 || run.warm_up + run.tokens > all) {
    fail("simulate", "tokens are " + std::to_string(run.warm_up) + " to warm up and " + std::to_string(run.tokens) +
                         ", the trace has " + std::to_string(all));
  }
  const auto routes = std::make_shared<const PastRoutes>(routes_of(traced, passes));
  SimulatedScores scores(trace, run, routes);
  SimulatedCache cache(machine, table_options(traced, run, routes, popularity), run.slots,
                       static_cast<double>(expert_bytes), scores);
  std::int64_t done = 0;
  bool counts = false;
  for (std::size_t p = 0; done < run.warm_up + run.tokens; ++p) {
    if (!counts && done >= run.warm_up) cache.start_counting(), counts = true;
    const auto number = static_cast<std::int64_t>(p);
    scores.enter(number, passes[p]);
    cache.pass(*routes, number, std::ssize(passes[p]));
    done += std::ssize(passes[p]);
  }
  return cache.result();
}

}  // namespace junto
