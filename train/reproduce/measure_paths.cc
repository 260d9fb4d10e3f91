#include "train/reproduce/measure_paths.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>

#include "moe/predictor.h"
#include "moe/select.h"

namespace junto {
namespace {

using Asked = std::span<const std::uint8_t>;

/// Of each stage of one token as many experts as it asked for, those with the highest scores, and how many of them it
/// did ask for.
void count_right(const std::vector<int>& experts, std::span<const float> scores, Asked asked, MeasuredPaths& out) {
  Chosen best;
  for (const int of_stage : experts) {
    const auto size = static_cast<std::size_t>(of_stage);
    const Asked wanted = asked.first(size);
    const std::int64_t count = std::accumulate(wanted.begin(), wanted.end(), std::int64_t{0});
    largest_k(scores.first(size), static_cast<int>(count), best);
    out.asked += count;
    out.right += std::ranges::count_if(best, [&](std::int32_t e) { return wanted[static_cast<std::size_t>(e)] != 0; });
    scores = scores.subspan(size), asked = asked.subspan(size);
  }
}

Asked row_of(const PathText& text, std::int64_t token) {
  const auto outputs = static_cast<std::size_t>(text.paths.outputs());
  return std::span(text.paths.asked).subspan(static_cast<std::size_t>(token) * outputs, outputs);
}

std::vector<std::int32_t> ids_of(Asked asked) {
  std::vector<std::int32_t> ids;
  for (std::size_t e = 0; e < asked.size(); ++e) {
    if (asked[e] != 0) ids.push_back(static_cast<std::int32_t>(e));
  }
  return ids;
}

PastRoutes routes_of(const PathText& text) {
  PastRoutes out{text.paths.experts, {}};
  for (std::int64_t t = 0; t < std::ssize(text.tokens); ++t) {
    std::size_t first = 0;
    for (const int experts : text.paths.experts) {
      out.asked.push_back(ids_of(row_of(text, t).subspan(first, static_cast<std::size_t>(experts))));
      first += static_cast<std::size_t>(experts);
    }
  }
  return out;
}

double recall_of_rule(PrefetchRule rule, const std::shared_ptr<const PastRoutes>& taught, const PastRoutes& past,
                      std::int64_t count) {
  const ExpertStages stages(past.experts);
  Predictor predictor(rule, stages, taught);
  std::vector<std::vector<std::int32_t>> open(past.experts.size());
  MeasuredPaths out;
  for (std::int64_t t = 0; t < count; ++t) {
    for (int s = 0; s < stages.count(); ++s) {
      const std::span<const std::int32_t> asked = past.asked_by(t, s);
      if (t > 0) {
        out.asked += std::ssize(asked);
        out.right += std::ranges::count_if(open[static_cast<std::size_t>(s)],
                                           [&](std::int32_t e) { return std::ranges::binary_search(asked, e); });
      }
      predictor.used(s, asked);
      const int target = predictor.target(s);
      if (target >= 0) predictor.predict(target, asked.size(), {}, open[static_cast<std::size_t>(target)]);
    }
  }
  return out.recall();
}

/// Shares of a token's uses that asked for each expert, and the same of all tokens.
double recall_of_token_table(const PathText& train, const PathText& text, std::int64_t count, std::int64_t vocabulary) {
  const auto outputs = static_cast<std::size_t>(train.paths.outputs());
  std::vector<float> asked(static_cast<std::size_t>(vocabulary) * outputs), all(outputs), scores(outputs);
  for (std::int64_t t = 0; t < std::ssize(train.tokens); ++t) {
    const Asked row = row_of(train, t);
    float* const of_token =
        asked.data() + static_cast<std::size_t>(train.tokens[static_cast<std::size_t>(t)]) * outputs;
    for (std::size_t i = 0; i < outputs; ++i) of_token[i] += row[i], all[i] += row[i];
  }
  const auto tokens = static_cast<float>(std::max<std::size_t>(1, train.tokens.size()));
  MeasuredPaths out;
  for (std::int64_t t = 0; t < count; ++t) {
    const float* const of_token =
        asked.data() + static_cast<std::size_t>(text.tokens[static_cast<std::size_t>(t)]) * outputs;
    for (std::size_t i = 0; i < outputs; ++i) scores[i] = of_token[i] + all[i] / tokens;
    count_right(text.paths.experts, scores, row_of(text, t), out);
  }
  return out.recall();
}

}  // namespace

MeasuredPaths measure_paths(const LanguageModel& model, const PathText& text, std::int64_t spans,
                            std::int64_t sequences, std::int64_t length) {
  const at::NoGradGuard guard;
  MeasuredPaths out;
  const auto outputs = static_cast<std::size_t>(text.paths.outputs());
  for (std::int64_t first = 0; first < spans; first += sequences) {
    const TokenBatch batch = span_batch(text.tokens, first, std::min(sequences, spans - first), length, text.paths);
    if (batch.inputs.numel() == 0) break;
    const at::Tensor logits = model.forward(batch.inputs).logits.contiguous();
    const at::Tensor asked = batch.paths.reshape(logits.sizes());
    out.loss +=
        at::binary_cross_entropy_with_logits(logits, asked.to(at::kFloat), {}, {}, at::Reduction::Sum).item<double>();
    for (std::int64_t t = 0; t < logits.size(0); ++t) {
      const std::size_t at = static_cast<std::size_t>(t) * outputs;
      count_right(text.paths.experts, {logits.data_ptr<float>() + at, outputs},
                  {asked.data_ptr<std::uint8_t>() + at, outputs}, out);
    }
    out.tokens += logits.size(0);
  }
  if (out.tokens > 0) out.loss /= static_cast<double>(out.tokens);
  return out;
}

std::map<std::string, double> untrained_recall(const PathText& train, const PathText& text, std::int64_t count,
                                               std::int64_t vocabulary) {
  count = std::min<std::int64_t>(count, std::ssize(text.tokens));
  const auto taught = std::make_shared<const PastRoutes>(routes_of(train));
  const PastRoutes past = routes_of(text);
  std::map<std::string, double> out;
  for (const PrefetchRule rule : {PrefetchRule(Prefetch::kPreviousToken), PrefetchRule(Prefetch::kPreviousLayer),
                                  PrefetchRule(Prefetch::kFrequency), PrefetchRule(Prefetch::kTable)}) {
    out[std::string(prefetch_name(rule))] =
        recall_of_rule(rule, rule.rule == Prefetch::kTable ? taught : nullptr, past, count);
  }
  out["token-table"] = recall_of_token_table(train, text, count, vocabulary);
  return out;
}

}  // namespace junto
