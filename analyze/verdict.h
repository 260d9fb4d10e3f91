// Verdicts on the claims of an experiment, from the metrics of its runs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "analyze/experiment.h"
#include "analyze/paired_statistics.h"

namespace junto {

/// What one (arm, seed) measured.
struct RunMetrics {
  std::string arm;
  std::int64_t seed = 0;                              // the arm's seed_offset taken off: pairs have equal ones
  std::map<std::string, double> values;               // by metric
  std::map<std::string, std::vector<double>> tokens;  // by metric, of the same test tokens for all runs
};

enum class Verdict : std::uint8_t { kHeld, kContradicted, kInconclusive, kNotTested };
std::string_view verdict_name(Verdict verdict);

struct ClaimOutcome {
  Verdict verdict = Verdict::kNotTested;
  std::string why;                  // one sentence
  std::vector<double> differences;  // of each paired seed, in order of seeds; as the claim defines them
  MeanInterval interval;            // of the differences, 95 %
  double p = 1.0, adjusted_p = 1.0;
  double arm_mean = 0.0, against_mean = 0.0;  // over the pairs
};

/// Decides all claims of an experiment, which are one family: `adjusted_p` is Holm's over those with two pairs or more.
///   less, greater  held: the interval lies beyond 0 on the claimed side, its mean beyond `margin`, adjusted p <= 0.05;
///                  contradicted: the interval lies wholly short of `margin`
///   no_worse       held: the interval lies below `margin`, adjusted p <= 0.05; contradicted: wholly above
///   equivalent     held: two one-sided tests within -margin .. margin, adjusted p <= 0.05; contradicted: the interval
///                  lies wholly outside
/// All else is inconclusive; fewer than two pairs are not tested.
std::vector<ClaimOutcome> decide(const std::vector<Claim>& claims, const std::vector<RunMetrics>& runs);

}  // namespace junto
