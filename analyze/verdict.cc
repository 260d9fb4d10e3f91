#include "analyze/verdict.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace junto {
namespace {

constexpr double kLevel = 0.05;
constexpr std::array<std::string_view, 4> kNames = {"held", "contradicted", "inconclusive", "not tested"};

const RunMetrics* run_of(const std::vector<RunMetrics>& runs, std::string_view arm, std::int64_t seed) {
  const auto found =
      std::ranges::find_if(runs, [&](const RunMetrics& run) { return run.arm == arm && run.seed == seed; });
  return found == runs.end() ? nullptr : &*found;
}

std::optional<double> value_of(const RunMetrics* run, const std::string& metric) {
  if (run == nullptr) return {};
  const auto found = run->values.find(metric);
  if (found == run->values.end() || !std::isfinite(found->second)) return {};
  return found->second;
}

std::optional<double> correlation_of(const Claim& claim, const RunMetrics& run, const RunMetrics* other) {
  if (other == nullptr) return {};
  const auto mine = run.tokens.find(claim.metric), theirs = other->tokens.find(claim.correlate_metric);
  if (mine == run.tokens.end() || theirs == other->tokens.end()) return {};
  if (mine->second.size() != theirs->second.size() || mine->second.empty()) return {};
  return spearman(mine->second, theirs->second);
}

struct Pair {
  double arm = 0.0, against = 0.0;
};

/// Of one seed; nothing where a run or metric is missing.
std::optional<Pair> pair_of(const Claim& claim, const RunMetrics& run, const std::vector<RunMetrics>& runs) {
  std::optional<double> mine, theirs = claim.than;
  if (claim.correlate.empty()) {
    mine = value_of(&run, claim.metric);
    if (!claim.against.empty()) theirs = value_of(run_of(runs, claim.against, run.seed), claim.metric);
  } else {
    mine = correlation_of(claim, run, run_of(runs, claim.correlate, run.seed));
  }
  if (!mine || !theirs) return {};
  return Pair{*mine, *theirs};
}

ClaimOutcome measure(const Claim& claim, const std::vector<RunMetrics>& runs) {
  std::vector<const RunMetrics*> mine;
  for (const RunMetrics& run : runs) {
    if (run.arm == claim.arm) mine.push_back(&run);
  }
  std::ranges::sort(mine, {}, [](const RunMetrics* run) { return run->seed; });
  ClaimOutcome out;
  double arm = 0.0, against = 0.0;
  for (const RunMetrics* run : mine) {
    const std::optional<Pair> pair = pair_of(claim, *run, runs);
    if (!pair || (claim.relative && pair->against == 0.0)) continue;
    const double difference = pair->arm - pair->against;
    out.differences.push_back(claim.relative ? difference / std::abs(pair->against) : difference);
    arm += pair->arm, against += pair->against;
  }
  out.interval = mean_interval(out.differences);
  if (out.interval.count == 0) return out;
  out.arm_mean = arm / out.interval.count;
  out.against_mean = against / out.interval.count;
  switch (claim.kind) {
    case Claim::Kind::kLess:
    case Claim::Kind::kGreater:
      out.p = paired_p(out.differences);
      break;
    case Claim::Kind::kNoWorse:
      out.p = paired_p(out.differences, claim.margin);
      break;
    case Claim::Kind::kEquivalent:
      out.p = equivalence_p(out.differences, claim.margin);
  }
  return out;
}

void judge_direction(const Claim& claim, ClaimOutcome& out) {
  const bool less = claim.kind == Claim::Kind::kLess;
  const double low = less ? -out.interval.high : out.interval.low, high = less ? -out.interval.low : out.interval.high;
  const double mean = less ? -out.interval.mean : out.interval.mean;
  if (low > 0.0 && mean >= claim.margin && out.adjusted_p <= kLevel) {
    out.verdict = Verdict::kHeld;
    out.why = "the interval lies on the claimed side and its mean is at least what matters";
  } else if (high < claim.margin || high < 0.0) {
    out.verdict = Verdict::kContradicted;
    out.why = high < 0.0 ? "the interval lies on the other side" : "the interval lies short of what matters";
  } else {
    out.why = low <= 0.0            ? "the interval contains no difference"
              : mean < claim.margin ? "the mean is less than what matters, the interval reaches it"
                                    : "the p value does not survive Holm's correction";
  }
}

void judge_margin(const Claim& claim, ClaimOutcome& out) {
  const bool both_sides = claim.kind == Claim::Kind::kEquivalent;
  const MeanInterval& interval = out.interval;
  const bool within = both_sides ? out.p <= kLevel : interval.high < claim.margin;
  if (within && out.adjusted_p <= kLevel) {
    out.verdict = Verdict::kHeld;
    out.why = "the interval lies within the margin";
  } else if (interval.low > claim.margin || (both_sides && interval.high < -claim.margin)) {
    out.verdict = Verdict::kContradicted;
    out.why = "the interval lies beyond the margin";
  } else {
    out.why = within ? "the p value does not survive Holm's correction" : "the interval reaches beyond the margin";
  }
}

}  // namespace

std::string_view verdict_name(Verdict verdict) {
  return kNames[static_cast<std::size_t>(verdict)];
}

std::vector<ClaimOutcome> decide(const std::vector<Claim>& claims, const std::vector<RunMetrics>& runs) {
  std::vector<ClaimOutcome> out;
  std::vector<double> p;
  std::vector<std::size_t> tested;
  for (const Claim& claim : claims) {
    out.push_back(measure(claim, runs));
    if (out.back().interval.count < 2) {
      out.back().why = "fewer than two paired seeds have run";
      continue;
    }
    tested.push_back(out.size() - 1);
    p.push_back(out.back().p);
  }
  const std::vector<double> adjusted = holm(p);
  for (std::size_t i = 0; i < tested.size(); ++i) {
    const Claim& claim = claims[tested[i]];
    ClaimOutcome& outcome = out[tested[i]];
    outcome.adjusted_p = adjusted[i];
    outcome.verdict = Verdict::kInconclusive;
    const bool direction = claim.kind == Claim::Kind::kLess || claim.kind == Claim::Kind::kGreater;
    direction ? judge_direction(claim, outcome) : judge_margin(claim, outcome);
  }
  return out;
}

}  // namespace junto
