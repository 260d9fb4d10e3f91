#include "train/reproduce/measure_paths.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>

#include "moe/predictor.h"

namespace junto {
namespace {

using Asked = std::span<const std::uint8_t>;

/// Of a stage's experts the `count` with the highest scores, those of equal ones by id, how many were asked for.
std::int64_t right_of_best(std::span<const float> scores, Asked asked, std::int64_t count,
                           std::vector<std::int32_t>& order) {
  order.resize(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](std::int32_t a, std::int32_t b) {
    const float x = scores[static_cast<std::size_t>(a)], y = scores[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  });
  return std::count_if(order.begin(), order.begin() + count,
                       [&](std::int32_t e) { return asked[static_cast<std::size_t>(e)] != 0; });
}

/// Calls see(stage, its scores, what was asked of it) of one token.
template <class See>
void for_each_stage(const std::vector<int>& experts, std::span<const float> scores, Asked asked, See&& see) {
  std::size_t first = 0;
  for (std::size_t s = 0; s < experts.size(); ++s) {
    const auto count = static_cast<std::size_t>(experts[s]);
    see(s, scores.subspan(first, count), asked.subspan(first, count));
    first += count;
  }
}

void count_right(const std::vector<int>& experts, std::span<const float> scores, Asked asked, MeasuredPaths& out) {
  std::vector<std::int32_t> order;
  for_each_stage(experts, scores, asked, [&](std::size_t, std::span<const float> of_stage, Asked wanted) {
    const std::int64_t count = std::accumulate(wanted.begin(), wanted.end(), std::int64_t{0});
    out.asked += count;
    out.right += right_of_best(of_stage, wanted, count, order);
  });
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
