// Statistics of paired seeds: did the difference between two arms of an experiment hold?
//
// All p values are two-sided where they belong to a two-sided interval, so "p <= 0.05" and "0 is outside the 95 %
// interval" are one statement.
#pragma once

#include <span>
#include <vector>

namespace junto {

/// The regularised incomplete beta function I_x(a, b); a, b > 0, x in [0, 1].
double incomplete_beta(double a, double b, double x);

/// P(T <= t) of Student's t distribution; degrees > 0, not necessarily whole.
double student_t_cdf(double t, double degrees);
/// Its inverse; 0 < p < 1.
double student_t_quantile(double p, double degrees);

/// Mean of `values` with the interval that Student's t gives for it. Of fewer than two values the interval is
/// unbounded; where all are equal it is the point.
struct MeanInterval {
  int count = 0;
  double mean = 0.0, deviation = 0.0;  // of one value, with count - 1
  double low = 0.0, high = 0.0;
};
MeanInterval mean_interval(std::span<const double> values, double confidence = 0.95);

/// Two-sided p of "the mean of `differences` is `at`": Student's one-sample test, which on differences of pairs is the
/// paired test. 1 where there are fewer than two values.
double paired_p(std::span<const double> differences, double at = 0.0);

/// Two one-sided tests (Schuirmann 1987): p of "the mean lies outside -margin .. margin", margin > 0. At most 0.05
/// where the 90 % interval lies inside.
double equivalence_p(std::span<const double> differences, double margin);

/// Holm's step-down correction (1979): adjusted p values, in the order given.
std::vector<double> holm(std::span<const double> p);

/// Percentile bootstrap of the mean: `resamples` draws from `seed`.
struct Interval {
  double low = 0.0, high = 0.0;
};
Interval bootstrap_interval(std::span<const double> values, double confidence, int resamples, unsigned long long seed);

/// Spearman's rank correlation; ties share their mean rank. 0 where one side has no variation. Both of one length.
double spearman(std::span<const double> x, std::span<const double> y);

}  // namespace junto
