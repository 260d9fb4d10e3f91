#include "train/loop/adafactor.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace junto {
namespace {

constexpr double kLeastSize = 1e-3;  // of a parameter's RMS in a relative step: the paper's second epsilon

/// A matrix, or a vector as one of one row, whose second moments are `row` and `column` (a vector's: `column` alone).
struct Factored {
  float* value;
  const float* gradient;
  float *first, *row, *column;  // first: null where there are none
  std::int64_t rows, columns;
};

struct AdafactorStep {
  double keep_share, new_share;  // of second moments
  double scale, rate, decay;     // of gradients; of the update; of values, 1: none
};

/// The moments take the gradient.
void take_squares(const Factored& m, const OptimizerOptions& o, const AdafactorStep& step) {
  std::vector<double> of_column(static_cast<std::size_t>(m.columns));
  for (std::int64_t i = 0; i < m.rows; ++i) {
    const float* gradient = m.gradient + i * m.columns;
    double of_row = 0.0;
    for (std::int64_t j = 0; j < m.columns; ++j) {
      const double g = static_cast<double>(gradient[j]) * step.scale;
      of_row += g * g;
      of_column[static_cast<std::size_t>(j)] += g * g;
    }
    if (m.row == nullptr) continue;
    const double mean = of_row / static_cast<double>(m.columns) + static_cast<double>(o.eps);
    m.row[i] = static_cast<float>(step.keep_share * static_cast<double>(m.row[i]) + step.new_share * mean);
  }
  for (std::int64_t j = 0; j < m.columns; ++j) {
    const double mean =
        of_column[static_cast<std::size_t>(j)] / static_cast<double>(m.rows) + static_cast<double>(o.eps);
    m.column[j] = static_cast<float>(step.keep_share * static_cast<double>(m.column[j]) + step.new_share * mean);
  }
}

/// 1 / sqrt of the moments as factors: of a row (1 for vectors) times of a column.
struct Divisors {
  std::vector<float> row, column;
};
Divisors divisors_of(const Factored& m) {
  Divisors out{std::vector<float>(static_cast<std::size_t>(m.rows), 1.0f),
               std::vector<float>(static_cast<std::size_t>(m.columns))};
  for (std::size_t j = 0; j < out.column.size(); ++j)
    out.column[j] = static_cast<float>(1.0 / std::sqrt(static_cast<double>(m.column[j])));
  if (m.row == nullptr) return out;
  double mean = 0.0;
  for (std::int64_t i = 0; i < m.rows; ++i) mean += static_cast<double>(m.row[i]) / static_cast<double>(m.rows);
  for (std::size_t i = 0; i < out.row.size(); ++i)
    out.row[i] = static_cast<float>(std::sqrt(mean / static_cast<double>(m.row[i])));
  return out;
}

double rms_of_update(const Factored& m, const Divisors& divisors, double scale) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < m.rows; ++i) {
    const float* gradient = m.gradient + i * m.columns;
    double of_row = 0.0;
    for (std::int64_t j = 0; j < m.columns; ++j) {
      const double u =
          static_cast<double>(gradient[j]) * static_cast<double>(divisors.column[static_cast<std::size_t>(j)]);
      of_row += u * u;
    }
    const double row = divisors.row[static_cast<std::size_t>(i)];
    sum += of_row * row * row;
  }
  return scale * std::sqrt(sum / static_cast<double>(m.rows * m.columns));
}

double rms_of_values(const Factored& m) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < m.rows * m.columns; ++i) sum += static_cast<double>(m.value[i]) * m.value[i];
  return std::sqrt(sum / static_cast<double>(m.rows * m.columns));
}

void step_matrix(const Factored& m, const OptimizerOptions& o, const AdafactorStep& step) {
  take_squares(m, o, step);
  const Divisors divisors = divisors_of(m);
  const double size = rms_of_update(m, divisors, step.scale) / static_cast<double>(o.clip_update);
  const double rate = step.rate * (o.relative_step ? std::max(kLeastSize, rms_of_values(m)) : 1.0);
  const float keep = static_cast<float>(step.decay), alpha = static_cast<float>(rate), mix = 1.0f - o.beta1;
  for (std::int64_t i = 0; i < m.rows; ++i) {
    const float row = static_cast<float>(step.scale / std::max(1.0, size)) * divisors.row[static_cast<std::size_t>(i)];
    for (std::int64_t j = 0; j < m.columns; ++j) {
      const std::int64_t at = i * m.columns + j;
      float u = m.gradient[at] * (row * divisors.column[static_cast<std::size_t>(j)]);
      if (m.first != nullptr) u = m.first[at] = o.beta1 * m.first[at] + mix * u;
      m.value[at] = m.value[at] * keep - alpha * u;
    }
  }
}

}  // namespace

std::vector<FactoredPlace> factored_places(const Parameters& parameters) {
  std::vector<FactoredPlace> out;
  std::int64_t offset = 0;
  for (const Parameter& parameter : parameters.all()) {
    const auto sizes = parameter.value.sizes();
    FactoredPlace place{.offset = offset, .columns = sizes.back()};
    if (sizes.size() >= 2) place.rows = sizes[sizes.size() - 2];
    for (std::size_t d = 0; d + 2 < sizes.size(); ++d) place.stack *= sizes[d];
    offset += place.size();
    out.push_back(place);
  }
  out.push_back({.offset = offset});
  return out;
}

void update_adafactor(Optimizer& state, const OptimizerOptions& options, Parameters& parameters, double learning_rate,
                      double gradient_scale, const std::vector<bool>& frozen) {
  const double fresh = std::pow(static_cast<double>(state.step), -static_cast<double>(options.beta2_exponent));
  const AdafactorStep step{.keep_share = 1.0 - fresh,
                           .new_share = fresh,
                           .scale = gradient_scale,
                           .rate = learning_rate,
                           .decay = 1.0 - learning_rate * static_cast<double>(options.weight_decay)};
  struct Task {
    Factored matrix;
    bool decays;
  };
  std::vector<Task> tasks;
  const std::vector<FactoredPlace> places = factored_places(parameters);
  for (std::size_t p = 0; p < parameters.all().size(); ++p) {
    if (!frozen.empty() && frozen[p]) continue;
    const Parameter& parameter = parameters.all()[p];
    const FactoredPlace& place = places[p];
    const std::int64_t rows = std::max<std::int64_t>(1, place.rows);
    for (std::int64_t s = 0; s < place.stack; ++s) {
      const std::int64_t at = parameter.offset + s * rows * place.columns;
      float* second = state.second.data_ptr<float>() + place.offset + s * place.of_one();
      tasks.push_back({{.value = parameters.values().data_ptr<float>() + at,
                        .gradient = parameters.gradients().data_ptr<float>() + at,
                        .first = state.first.defined() ? state.first.data_ptr<float>() + at : nullptr,
                        .row = place.rows > 0 ? second : nullptr,
                        .column = second + place.rows,
                        .rows = rows,
                        .columns = place.columns},
                       parameter.decays});
    }
  }
  // A matrix is one thread's, so that sums do not depend on how many there are.
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    AdafactorStep own = step;
    if (!tasks[i].decays) own.decay = 1.0;
    step_matrix(tasks[i].matrix, options, own);
  }
}

at::Tensor moved_factors(const at::Tensor& second, const Parameters& from, const Parameters& to) {
  const std::vector<FactoredPlace> before = factored_places(from), now = factored_places(to);
  at::Tensor out = at::zeros({now.back().offset}, at::kFloat);
  const float* source = second.data_ptr<float>();
  float* target = out.data_ptr<float>();
  const auto copy = [](const float* values, std::int64_t have, std::int64_t want, float* into) {
    for (std::int64_t i = 0; i < want; ++i) into[i] = values[i % have];
  };
  for (std::size_t p = 0; p < to.all().size(); ++p) {
    for (std::int64_t s = 0; s < now[p].stack; ++s) {
      const float* old = source + before[p].offset + s % before[p].stack * before[p].of_one();
      float* into = target + now[p].offset + s * now[p].of_one();
      if (now[p].rows > 0) copy(old, before[p].rows, now[p].rows, into);
      copy(old + before[p].rows, before[p].columns, now[p].columns, into + now[p].rows);
    }
  }
  return out;
}

}  // namespace junto
