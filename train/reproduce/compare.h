// junto compare: makes the experiment (analyze/compare.h), has junto reproduce run it, says what came out.
#pragma once

#include "cli/compare_command.h"

namespace junto {

/// Carries the verb out; returns the exit status as reproduce() does. In `runs`: systems/compare/experiment.json, the
/// rows, compare.json and compare.svg. Throws Error on bad arguments and texts.
int compare(const CompareArguments& given);

}  // namespace junto
