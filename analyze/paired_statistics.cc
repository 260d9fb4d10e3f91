#include "analyze/paired_statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "base/random.h"

namespace junto {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The continued fraction of I_x(a, b) by Lentz's method; converges fast for x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300, kEnough = 1e-16;
  const auto away_from_zero = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1.0, d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0)), result = d;
  for (int m = 1; m < 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1.0 / away_from_zero(1.0 + even * d);
    c = away_from_zero(1.0 + even / c);
    result *= c * d;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1.0 / away_from_zero(1.0 + odd * d);
    c = away_from_zero(1.0 + odd / c);
    result *= c * d;
    if (std::abs(c * d - 1.0) < kEnough) break;
  }
  return result;
}

/// t of the values' mean against `at`; infinite where they do not vary and it is elsewhere.
double t_of(const MeanInterval& sample, double at) {
  const double distance = sample.mean - at;
  if (sample.deviation > 0.0) return distance / (sample.deviation / std::sqrt(sample.count));
  return distance == 0.0 ? 0.0 : std::copysign(kInfinity, distance);
}

/// Ranks from 1, ties sharing their mean.
std::vector<double> ranks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> out(values.size());
  for (std::size_t first = 0, end = 0; first < order.size(); first = end) {
    while (end < order.size() && values[order[end]] == values[order[first]]) ++end;
    for (std::size_t i = first; i < end; ++i) out[order[i]] = static_cast<double>(first + end + 1) / 2.0;
  }
  return out;
}

}  // namespace

double incomplete_beta(double a, double b, double x) {
  assert(a > 0.0 && b > 0.0);
  if (x <= 0.0) return 0.0;
  if (x >= 1.0) return 1.0;
  const double log_front = std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x);
  if (x < (a + 1.0) / (a + b + 2.0)) return std::exp(log_front) * beta_fraction(a, b, x) / a;
  return 1.0 - std::exp(log_front) * beta_fraction(b, a, 1.0 - x) / b;
}

double student_t_cdf(double t, double degrees) {
  if (std::isinf(t)) return t > 0.0 ? 1.0 : 0.0;
  const double tail = 0.5 * incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t));
  return t > 0.0 ? 1.0 - tail : tail;
}

double student_t_quantile(double p, double degrees) {
  assert(p > 0.0 && p < 1.0);
  if (p == 0.5) return 0.0;
  if (p > 0.5) return -student_t_quantile(1.0 - p, degrees);
  double low = -1.0, high = 0.0;  // tails are exact on this side
  while (student_t_cdf(low, degrees) > p && low > -1e300) low *= 2.0;
  for (int i = 0; i < 200 && high - low > 1e-15 * -low; ++i) {
    const double middle = 0.5 * (low + high);
    (student_t_cdf(middle, degrees) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

MeanInterval mean_interval(std::span<const double> values, double confidence) {
  MeanInterval out{.count = static_cast<int>(values.size())};
  if (values.empty()) return {.count = 0, .low = -kInfinity, .high = kInfinity};
  out.mean = std::accumulate(values.begin(), values.end(), 0.0) / out.count;
  if (out.count == 1) {
    out.low = -kInfinity, out.high = kInfinity;
    return out;
  }
  double squares = 0.0;
  for (const double value : values) squares += (value - out.mean) * (value - out.mean);
  out.deviation = std::sqrt(squares / (out.count - 1));
  const double reach = student_t_quantile(0.5 + confidence / 2.0, out.count - 1) * out.deviation / std::sqrt(out.count);
  out.low = out.mean - reach, out.high = out.mean + reach;
  return out;
}

double paired_p(std::span<const double> differences, double at) {
  const MeanInterval sample = mean_interval(differences);
  if (sample.count < 2) return 1.0;
  return 2.0 * student_t_cdf(-std::abs(t_of(sample, at)), sample.count - 1);
}

double equivalence_p(std::span<const double> differences, double margin) {
  assert(margin > 0.0);
  const MeanInterval sample = mean_interval(differences);
  if (sample.count < 2) return 1.0;
  const double degrees = sample.count - 1;
  const double above_low = student_t_cdf(-t_of(sample, -margin), degrees);
  const double below_high = student_t_cdf(t_of(sample, margin), degrees);
  return std::max(above_low, below_high);
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> out(p.size());
  double so_far = 0.0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    so_far = std::max(so_far, std::min(1.0, p[order[rank]] * static_cast<double>(p.size() - rank)));
    out[order[rank]] = so_far;
  }
  return out;
}

Interval bootstrap_interval(std::span<const double> values, double confidence, int resamples, unsigned long long seed) {
  assert(resamples > 0);
  if (values.size() < 2) return {-kInfinity, kInfinity};
  Random random(seed);
  std::vector<double> means(static_cast<std::size_t>(resamples));
  for (double& mean : means) {
    double sum = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[random.next() % values.size()];
    mean = sum / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  // Between neighbours in a straight line, as numpy.quantile does.
  const auto quantile = [&](double share) {
    const double at = share * static_cast<double>(means.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, means.size() - 1);
    return means[below] + (means[above] - means[below]) * (at - static_cast<double>(below));
  };
  return {quantile(0.5 - confidence / 2.0), quantile(0.5 + confidence / 2.0)};
}

double spearman(std::span<const double> x, std::span<const double> y) {
  assert(x.size() == y.size());
  const std::vector<double> a = ranks(x), b = ranks(y);
  const double middle = (static_cast<double>(x.size()) + 1.0) / 2.0;
  double together = 0.0, of_a = 0.0, of_b = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    together += (a[i] - middle) * (b[i] - middle);
    of_a += (a[i] - middle) * (a[i] - middle);
    of_b += (b[i] - middle) * (b[i] - middle);
  }
  return of_a > 0.0 && of_b > 0.0 ? together / std::sqrt(of_a * of_b) : 0.0;
}

}  // namespace junto
