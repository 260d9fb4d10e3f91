// results/<slug>.json: what an experiment declared, what ran where, what came out.
#pragma once

#include <vector>

#include "analyze/verdict.h"
#include "train/reproduce/reproduce.h"

namespace junto {

/// `rates` and `finals` as chosen_rates() and final_runs() give them; `rows` of those that are finished, tuning runs
/// among them. Mode: "smoke"; "partial" where runs that were declared are missing; else "full".
Json result_of(const Setting& setting, const std::vector<double>& rates, const std::vector<Run>& finals,
               const std::vector<Json>& tuned, const std::vector<Json>& rows);

/// Arms and claims of a result as tables for people.
std::string describe(const Json& result);

}  // namespace junto
