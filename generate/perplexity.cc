#include "generate/perplexity.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "generate/forward_rows.h"

namespace junto {
namespace {

/// The parts of a softmax's norm, apart: their sum would lose the small one beside large logits.
struct Norm {
  double highest = 0;  // logit
  double log_sum = 0;  // of exp(logit - highest)

  double log_probability(float logit) const { return (logit - highest) - log_sum; }
};

Norm norm_of(std::span<const float> logits) {
  const double highest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - highest);
  return {highest, std::log(sum)};
}

/// What one scored position gives.
struct Scored {
  double nll = 0;
  double kl = 0;
  bool agrees = false;
};

struct Scorer {
  Decoder& model;
  Decoder* reference;
  ThreadPool& pool;
  const PerplexityOptions& options;
  std::vector<Scored> scores;

  void window(std::span<const std::int32_t> ids);
};

void Scorer::window(std::span<const std::int32_t> ids) {
  Sequence sequence, reference_sequence;
  sequence.policy = options.policy;
  // The last token is only a target: nothing is asked of its own row.
  const std::size_t rows = ids.size() - 1;
  const std::size_t step = options.chunk > 0 ? static_cast<std::size_t>(options.chunk) : rows;
  for (std::size_t first = 0; first < rows; first += step) {
    const auto part = ids.subspan(first, std::min(step, rows - first));
    const MatrixView<const float> q = forward_call(model, sequence, part);
    MatrixView<const float> p;
    if (reference != nullptr) p = forward_call(*reference, reference_sequence, part);
    const std::size_t begin = scores.size();
    scores.resize(begin + part.size());
    pool.for_each_block(q.rows, [&](std::int64_t r, int) {
      Scored& score = scores[begin + static_cast<std::size_t>(r)];
      score.nll = negative_log_likelihood(q.row(r), ids[first + static_cast<std::size_t>(r) + 1]);
      if (reference == nullptr) return;
      score.kl = kl_divergence(p.row(r), q.row(r));
      score.agrees = std::ranges::max_element(p.row(r)) - p.row(r).begin() ==
                     std::ranges::max_element(q.row(r)) - q.row(r).begin();
    });
    if (options.progress) options.progress(static_cast<std::int64_t>(part.size()));
  }
}

Divergence divergence_of(const std::vector<Scored>& scores) {
  Divergence result;
  std::vector<double> kl;
  for (const Scored& score : scores) {
    kl.push_back(score.kl);
    result.mean_kl += score.kl / static_cast<double>(scores.size());
    result.top1_agreement += score.agrees ? 1.0 / static_cast<double>(scores.size()) : 0.0;
  }
  const auto rank = static_cast<std::size_t>(std::ceil(0.99 * static_cast<double>(kl.size())));
  std::ranges::nth_element(kl, kl.begin() + static_cast<std::ptrdiff_t>(rank - 1));
  result.p99_kl = kl[rank - 1];
  return result;
}

}  // namespace

double negative_log_likelihood(std::span<const float> logits, std::int32_t token) {
  return -norm_of(logits).log_probability(logits[static_cast<std::size_t>(token)]);
}

double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits) {
  const Norm p_norm = norm_of(p_logits), q_norm = norm_of(q_logits);
  double sum = 0;
  for (std::size_t i = 0; i < p_logits.size(); ++i) {
    const double log_p = p_norm.log_probability(p_logits[i]);
    sum += std::exp(log_p) * (log_p - q_norm.log_probability(q_logits[i]));
  }
  return std::max(0.0, sum);  // rounding may take equal rows below zero
}

Perplexity measure_perplexity(Decoder& model, Decoder* reference, ThreadPool& pool, std::span<const std::int32_t> text,
                              const PerplexityOptions& options, std::string_view where) {
  const std::size_t window = static_cast<std::size_t>(options.window);
  const std::size_t own = window - (options.bos ? 1 : 0);  // tokens of the text in a window
  if (text.size() < own) {
    fail(where, "text has " + std::to_string(text.size()) + " tokens, one window of " + std::to_string(window) +
                    (options.bos ? " with BOS" : "") + " needs " + std::to_string(own));
  }
  Perplexity result;
  Scorer scorer{model, reference, pool, options, {}};
  std::vector<std::int32_t> ids;
  for (std::size_t begin = 0; begin + own <= text.size(); begin += own, ++result.windows) {
    ids.clear();
    if (options.bos) ids.push_back(*options.bos);
    ids.insert(ids.end(), text.begin() + static_cast<std::ptrdiff_t>(begin),
               text.begin() + static_cast<std::ptrdiff_t>(begin + own));
    scorer.window(ids);
  }
  const auto count = static_cast<double>(scorer.scores.size());
  for (const Scored& score : scorer.scores) result.mean_nll += score.nll / count;
  double squares = 0;
  for (const Scored& score : scorer.scores) squares += (score.nll - result.mean_nll) * (score.nll - result.mean_nll);
  result.tokens = static_cast<std::int64_t>(scorer.scores.size());
  result.standard_error = count > 1 ? std::sqrt(squares / (count - 1) / count) : 0;
  result.perplexity = std::exp(result.mean_nll);
  if (reference != nullptr) result.against = divergence_of(scorer.scores);
  return result;
}

}  // namespace junto
