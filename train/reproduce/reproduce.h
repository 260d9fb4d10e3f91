// junto reproduce: an experiment from its arms to results/<slug>.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "analyze/experiment.h"
#include "cli/reproduce_command.h"
#include "train/reproduce/rows.h"

namespace junto {

/// Carries the verb out; returns the exit status: 0, 1 where --verify finds other losses, 130 after Ctrl-C between two
/// runs. Throws Error on bad arguments, experiments and texts.
int reproduce(const ReproduceArguments& given);

/// Seconds of "2h", "90m", "300s"; throws Error naming what is expected.
double parse_duration(std::string_view text, std::string_view where);

/// All that one call of reproduce works on.
struct Setting {
  Experiment experiment;
  std::vector<DomainText> texts;
  Machine machine;
  std::string folder;  // of rows
};
Setting make_setting(const ReproduceArguments& given);

/// How many seeds an arm runs with.
std::int64_t seeds_of(const Experiment& experiment, const Arm& arm);

/// The runs that choose each arm's learning rate; none where there is nothing to choose.
std::vector<Run> tuning_runs(const Experiment& experiment);
/// The rate of each arm with the least mean loss on the text to tune; the recipe's where there is no grid. `rows` of
/// tuning runs. Throws Error naming an arm that has none.
std::vector<double> chosen_rates(const Experiment& experiment, const std::vector<Json>& rows);
/// The runs that count, seed by seed.
std::vector<Run> final_runs(const Experiment& experiment, const std::vector<double>& rates);

}  // namespace junto
