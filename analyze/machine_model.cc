#include "analyze/machine_model.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <utility>

namespace junto {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

}  // namespace

void MachineModel::submit(std::int32_t slot, Priority priority) {
  std::vector<std::int32_t>& queue = priority == Priority::kDemand ? demand_ : prefetch_;
  queue.insert(queue.end(), static_cast<std::size_t>(machine_.matrices), slot);
}

void MachineModel::hurry(std::int32_t slot) {
  demand_.insert(demand_.end(), static_cast<std::size_t>(cancel(slot)), slot);
}

int MachineModel::cancel(std::int32_t slot) {
  return static_cast<int>(std::erase(prefetch_, slot));
}

void MachineModel::compute(double seconds) {
  double left = seconds;
  while (left > 1e-12) left -= advance(left, true);
}

void MachineModel::wait() {
  advance(kNever, false);
}

void MachineModel::start_reads() {
  auto guessed = std::ranges::count(reads_, Priority::kPrefetch, &Read::priority);
  while (static_cast<int>(reads_.size()) < machine_.reads) {
    const bool waited_for = next_demand_ < demand_.size();
    if (!waited_for && (prefetch_.empty() || guessed >= machine_.prefetch_reads)) break;
    if (waited_for) {
      reads_.push_back({demand_[next_demand_++], Priority::kDemand, 0, machine_.latency_s});
    } else {
      reads_.push_back({prefetch_.front(), Priority::kPrefetch, 0, machine_.latency_s});
      prefetch_.erase(prefetch_.begin());
      ++guessed;
    }
  }
  if (next_demand_ == demand_.size()) demand_.clear(), next_demand_ = 0;
}

// To the next event. `left_s` are the seconds that computing would take with all cores to itself; returns how many of
// them were done.
double MachineModel::advance(double left_s, bool computing) {
  start_reads();
  assert(computing || !reads_.empty());
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
  double step_s = computing ? left_s / core_share : kNever;
  for (const Read& read : reads_) {
    if (rate(read) > 0) step_s = std::min(step_s, read.left / rate(read));
  }
  now_s_ += step_s;
  for (Read& read : reads_) read.left -= step_s * rate(read);
  for (Read& read : reads_) {
    const auto is_done = [&] { return read.left <= (read.stage == 1 ? 1e-3 : 1e-12); };  // of a byte, of a second
    while (read.stage < 3 && is_done()) next_stage(read);
  }
  std::erase_if(reads_, [](const Read& read) { return read.stage == 3; });
  for (const std::int32_t slot : std::exchange(arrivals_, {})) arrived_(slot);
  return step_s * core_share;
}

void MachineModel::next_stage(Read& read) {
  ++read.stage;
  if (read.stage == 1) read.left = matrix_bytes_;
  if (read.stage == 2) read.left = machine_.arrive_s / machine_.matrices;
  if (read.stage == 3) arrivals_.push_back(read.slot);
}

}  // namespace junto
