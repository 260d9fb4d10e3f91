#include "analyze/simulate.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "analyze/traced_stages.h"
#include "base/error.h"

namespace junto {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// Disk, cores and the reads that are under way.
class Machine {
 public:
  Machine(const SimulatedMachine& machine, double matrix_bytes) : machine_(machine), matrix_bytes_(matrix_bytes) {}

  double now() const { return now_; }
  void submit(std::int32_t cell) {
    for (int m = 0; m < machine_.matrices; ++m) queue_.push_back(cell);
  }
  /// Computes `seconds` of all cores. Matrices that arrive meanwhile are appended to `arrived`.
  void compute(double seconds, std::vector<std::int32_t>& arrived) {
    double left = seconds;
    while (left > 1e-12) left -= advance(left, true, arrived);
  }
  /// Until a matrix has arrived.
  void wait(std::vector<std::int32_t>& arrived) {
    while (arrived.empty() && (!reads_.empty() || next_ < queue_.size())) advance(kNever, false, arrived);
  }

 private:
  struct Read {
    std::int32_t cell;
    int stage;    // 0: latency, 1: disk, 2: cores
    double left;  // seconds, bytes, core seconds
  };

  void start_reads() {
    while (next_ < queue_.size() && static_cast<int>(reads_.size()) < machine_.reads) {
      reads_.push_back({queue_[next_++], 0, machine_.latency_s});
    }
    if (next_ == queue_.size()) queue_.clear(), next_ = 0;
  }

  /// To the next event. `left` are the seconds that computing would take with all cores to itself; returns how many of
  /// them were done.
  double advance(double left, bool computing, std::vector<std::int32_t>& arrived) {
    start_reads();
    const Read* on_disk = nullptr;
    int on_cores = 0;
    for (const Read& read : reads_) {
      if (read.stage == 1 && !on_disk) on_disk = &read;
      on_cores += read.stage == 2 ? 1 : 0;
    }
    const double wanted = on_cores + (computing ? machine_.cores : 0);
    const double core_share = wanted > machine_.cores ? machine_.cores / wanted : 1;
    const auto rate = [&](const Read& read) {
      if (read.stage == 0) return 1.0;
      if (read.stage == 2) return core_share;
      return &read == on_disk ? machine_.disk_bytes_per_s : 0.0;
    };
    double step = computing ? left / core_share : kNever;
    for (const Read& read : reads_) {
      if (rate(read) > 0) step = std::min(step, read.left / rate(read));
    }
    now_ += step;
    for (Read& read : reads_) read.left -= step * rate(read);
    for (Read& read : reads_) {
      const auto is_done = [&] { return read.left <= (read.stage == 1 ? 1e-3 : 1e-12); };  // of a byte, of a second
      while (read.stage < 3 && is_done()) next_stage(read, arrived);
    }
    std::erase_if(reads_, [](const Read& read) { return read.stage == 3; });
    return step * core_share;
  }

  void next_stage(Read& read, std::vector<std::int32_t>& arrived) const {
    ++read.stage;
    if (read.stage == 1) read.left = matrix_bytes_;
    if (read.stage == 2) read.left = machine_.arrive_s / machine_.matrices;
    if (read.stage == 3) arrived.push_back(read.cell);
  }

  const SimulatedMachine& machine_;
  double matrix_bytes_;
  double now_ = 0;
  std::vector<std::int32_t> queue_;  // cells, one entry a matrix; first at next_
  std::size_t next_ = 0;
  std::vector<Read> reads_;
};

Foreknowledge foresee(const TracedStages& traced, const SimulatedRun& run, const std::vector<double>& popularity) {
  Foreknowledge known;
  if (run.evict == Evict::kStatic) known.popularity = popularity;
  if (run.evict != Evict::kBelady) return known;
  const Eviction cells(Evict::kLru, traced.experts);
  known.uses.resize(static_cast<std::size_t>(cells.cells()));
  std::int64_t pass = 0;
  for (std::int64_t t = 0; t < run.warm_up + run.tokens; ++t) {
    for (std::size_t s = 0; s < traced.routers.size(); ++s) {
      ++pass;
      for (const std::int32_t e : traced.routers[s]->plan.experts_of(t)) {
        known.uses[static_cast<std::size_t>(cells.cell_of(traced.layer[s], e))].push_back(pass);
      }
    }
  }
  return known;
}

/// The expert cache with simulated time: ExpertCache::run, step by step.
class SimulatedCache {
 public:
  SimulatedCache(TracedStages traced, const SimulatedMachine& machine, const SimulatedRun& run, double expert_bytes,
                 const std::vector<double>& popularity)
      : traced_(std::move(traced)),
        stages_(traced_.stages()),
        parameters_(machine),
        machine_(parameters_, expert_bytes / machine.matrices),
        eviction_(run.evict, traced_.experts, foresee(traced_, run, popularity), traced_.rounds),
        expert_bytes_(expert_bytes),
        free_slots_(run.slots) {
    state_.assign(static_cast<std::size_t>(eviction_.cells()), kOut);
    matrices_left_.assign(state_.size(), 0);
  }

  void token(std::int64_t t) {
    for (int s = 0; s < stages_.count(); ++s) {
      machine_.compute(parameters_.dense_s / stages_.count(), arrived_);
      run_stage(stages_.stage(s), traced_.routers[static_cast<std::size_t>(s)]->plan.experts_of(t));
    }
    ++result_.tokens;
  }
  void start_counting() {
    result_ = {};
    begin_s_ = machine_.now();
  }
  SimulationResult result() const {
    SimulationResult out = result_;
    out.seconds = machine_.now() - begin_s_;
    return out;
  }

 private:
  enum State : std::uint8_t { kOut, kLoading, kReady, kWanted };  // kWanted: ready, and of the layer that runs

  void run_stage(ExpertStage stage, std::span<const std::int32_t> experts);
  void start_loads();
  void take_arrived();
  bool make_room();

  TracedStages traced_;
  ExpertStages stages_;
  SimulatedMachine parameters_;
  Machine machine_;
  Eviction eviction_;
  double expert_bytes_;
  std::int64_t free_slots_;
  std::vector<State> state_;        // by cell
  std::vector<int> matrices_left_;  // by cell, while loading
  std::vector<std::int32_t> in_;    // cells in slots
  std::vector<std::int32_t> missing_, waiting_, arrived_, candidates_;
  SimulationResult result_;
  double begin_s_ = 0;
};

bool SimulatedCache::make_room() {
  if (free_slots_ > 0) {
    --free_slots_;
    return true;
  }
  candidates_.clear();
  for (const std::int32_t cell : in_) {
    if (state_[static_cast<std::size_t>(cell)] == kReady) candidates_.push_back(cell);
  }
  if (candidates_.empty()) return false;
  const std::int32_t victim = eviction_.victim(candidates_);
  state_[static_cast<std::size_t>(victim)] = kOut;
  std::erase(in_, victim);
  return true;
}

void SimulatedCache::start_loads() {
  while (!missing_.empty() && make_room()) {
    const std::int32_t cell = missing_.back();
    missing_.pop_back();
    waiting_.push_back(cell);
    in_.push_back(cell);
    state_[static_cast<std::size_t>(cell)] = kLoading;
    matrices_left_[static_cast<std::size_t>(cell)] = parameters_.matrices;
    machine_.submit(cell);
    result_.bytes_read += expert_bytes_;
  }
}

void SimulatedCache::take_arrived() {
  for (const std::int32_t cell : arrived_) {
    if (--matrices_left_[static_cast<std::size_t>(cell)] == 0) state_[static_cast<std::size_t>(cell)] = kWanted;
  }
  arrived_.clear();
}

void SimulatedCache::run_stage(ExpertStage stage, std::span<const std::int32_t> experts) {
  eviction_.enter(stage);
  missing_.clear();
  waiting_.clear();
  for (const std::int32_t e : experts) {
    const std::int32_t cell = eviction_.cell_of(stage.layer, e);
    eviction_.use(stage.layer, e);
    const bool in = state_[static_cast<std::size_t>(cell)] == kReady;
    if (in) state_[static_cast<std::size_t>(cell)] = kWanted;
    (in ? waiting_ : missing_).push_back(cell);
  }
  result_.hits += std::ssize(waiting_);
  result_.misses += std::ssize(missing_);
  std::ranges::sort(missing_, std::greater());  // taken from the back
  while (!waiting_.empty() || !missing_.empty()) {
    start_loads();
    const double begin_s = machine_.now();
    const auto is_wanted = [&](std::int32_t cell) { return state_[static_cast<std::size_t>(cell)] == kWanted; };
    take_arrived();
    while (std::ranges::none_of(waiting_, is_wanted)) {
      machine_.wait(arrived_);
      take_arrived();
    }
    result_.stall_s += machine_.now() - begin_s;
    const auto computes =
        std::stable_partition(waiting_.begin(), waiting_.end(), [&](std::int32_t cell) { return !is_wanted(cell); });
    const std::vector<std::int32_t> group(computes, waiting_.end());
    machine_.compute(static_cast<double>(group.size()) * parameters_.expert_s, arrived_);
    for (const std::int32_t cell : group) state_[static_cast<std::size_t>(cell)] = kReady;
    waiting_.resize(waiting_.size() - group.size());
  }
}

}  // namespace

double SimulationResult::hit_ratio() const {
  return hits + misses > 0 ? static_cast<double>(hits) / static_cast<double>(hits + misses) : 0;
}

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
  TracedStages traced = stages_of(trace);
  if (traced.routers.empty()) fail("simulate", "the trace has no routed feed-forward layer");
  if (run.slots < 1)
    fail("simulate", "expert memory holds " + std::to_string(run.slots) + " experts, expected 1 or more");
  if (run.tokens < 1 || run.warm_up < 0 || run.warm_up + run.tokens > trace.tokens()) {
    fail("simulate", "tokens are " + std::to_string(run.warm_up) + " to warm up and " + std::to_string(run.tokens) +
                         ", the trace has " + std::to_string(trace.tokens()));
  }
  const auto cells = static_cast<std::size_t>(experts_of(trace));
  if (run.evict == Evict::kStatic && popularity.size() != cells) {
    fail("simulate",
         "the trace has " + std::to_string(cells) + " experts, the hot set is of " + std::to_string(popularity.size()));
  }
  SimulatedCache cache(std::move(traced), machine, run, static_cast<double>(expert_bytes), popularity);
  for (std::int64_t t = 0; t < run.warm_up + run.tokens; ++t) {
    if (t == run.warm_up) cache.start_counting();
    cache.token(t);
  }
  return cache.result();
}

}  // namespace junto
