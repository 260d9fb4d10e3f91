// junto compare: any set of routers at two model sizes and several budgets, beside four controls, as one experiment of
// junto reproduce (analyze/experiment.h), and what its result says about gaps.
//
// An arm is ROUTER.SIZE.BUDGET: "top2.small.1", budgets from 1, each twice the one before. Arms of one size and budget
// execute the same number of operations. Smaller budgets branch, for their decay, from the run of the largest: a
// router, size and seed is one trunk of constant rate (Haegele et al., arXiv 2405.18392).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analyze/experiment.h"

namespace junto {

/// A way to route, as fields of a recipe. Controls are in every comparison.
struct CompareRouter {
  std::string_view name, about;
  std::vector<std::string> set;
  bool control = false;
};
const std::vector<CompareRouter>& compare_routers();

/// The control that gaps are measured from.
inline constexpr std::string_view kCompareBaseline = "dense-active";

struct CompareRequest {
  std::string slug = "compare";
  std::vector<std::string> routers;  // names of compare_routers(), controls left out or not
  std::vector<TextFile> texts;
  double flops = 1e11;  // the largest budget of a run, executed operations
  int budgets = 3;      // how many, each half of the next
  int seeds = 5;
  bool smoke = false;  // shapes of a few hundred parameters
};

/// The experiment as its file has it: arms of the controls and of `routers`, and a claim for each router (fewer bits a
/// byte than the baseline at the larger size and largest budget). Throws Error naming an unknown router and the known
/// ones.
Json compare_experiment(const CompareRequest& request);

/// How an arm's advantage over the baseline (bits a byte that it saves, paired seeds) changes.
struct CompareTrend {
  std::string router;
  std::string over;                 // "budget, small", "budget, large" or "size"
  std::vector<double> differences;  // of each seed: the advantage at the end of the range less that at its begin
  double adjusted_p = 1.0;          // Holm, over all trends of the result
};
/// Of a result of such an experiment; "size" is at the largest budget. Trends with fewer than two seeds have p 1.
std::vector<CompareTrend> compare_trends(const Json& result);

/// The advantage of each router at each size and budget with its 95 % interval, whether it grows or shrinks, what
/// routing did and cost, and the range beyond which nothing is said.
std::string describe_comparison(const Json& result);

/// Bits a byte on the text to test against executed operations, one chart a size, with 95 % intervals where there are
/// three seeds or more. An SVG file.
std::string comparison_picture(const Json& result);

}  // namespace junto
