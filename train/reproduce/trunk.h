// Runs that are one run up to a point: arms that differ in their budget of operations alone, under a rate that is
// constant until it decays. The longest is the trunk; where a shorter one begins its decay, it branches off. Every row
// is, to the bit, what training that arm from the start gives.
#pragma once

#include <functional>
#include <vector>

#include "train/reproduce/reproduce.h"

namespace junto {

/// Throws Error naming arms whose recipe is not their trunk's but for schedule.flops, or whose run would part from it
/// before its decay.
void check_trunks(const Experiment& experiment, const std::vector<DomainText>& texts);

/// Runs of one trunk and seed, by ascending budget, the trunk last; a run without others by itself.
using TrunkRuns = std::vector<Run>;
/// In the order in which their first runs stand. Runs for tuning, and those whose trunk is not among `runs`, stand by
/// themselves.
std::vector<TrunkRuns> trunks_of(const Experiment& experiment, const std::vector<Run>& runs);

/// Operations that a run executes beside what its trunk does, as its schedule says; 0 where steps decide.
double planned_flops(const Experiment& experiment, const Run& run, const TrunkRuns& trunk);

/// Trains and calls `keep` with the row of every run of `runs` for which `is_kept` says false; until `stop`, asked
/// after each row, says true: then false. What branches begin with is kept in files beside the rows until all are
/// finished: another call goes on from the last of them.
bool run_trunk(const Setting& setting, const TrunkRuns& runs, const std::function<bool(const Run&)>& is_kept,
               const std::function<void(const Run&, const Json&)>& keep, const std::function<bool()>& stop);

}  // namespace junto
