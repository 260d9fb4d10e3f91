#include "moe/predictor.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"

namespace junto {
namespace {

constexpr NamedPrefetch kPrefetchRules[] = {
    {"none", Prefetch::kNone},
    {"next-router", Prefetch::kNextRouter},
    {"next-router:2", {Prefetch::kNextRouter, 2}},
    {"table", Prefetch::kTable},
    {"table:2", {Prefetch::kTable, 2}},
    {"path", Prefetch::kPath},
    {"path:2", {Prefetch::kPath, 2}},
    {"previous-token", Prefetch::kPreviousToken},
    {"previous-layer", Prefetch::kPreviousLayer},
    {"frequency", Prefetch::kFrequency},
    {"oracle", Prefetch::kOracle},
    {"oracle:2", {Prefetch::kOracle, 2}},
};

}  // namespace

std::span<const NamedPrefetch> all_prefetch_rules() {
  return kPrefetchRules;
}

PrefetchRule parse_prefetch(std::string_view name, std::string_view option) {
  std::string known;
  for (const NamedPrefetch& one : kPrefetchRules) {
    if (name == one.name) return one.rule;
    if (!known.empty()) known += &one == std::end(kPrefetchRules) - 1 ? " or " : ", ";
    known += one.name;
  }
  fail(option, "is " + printable(name) + ", expected " + known);
}

std::string_view prefetch_name(PrefetchRule rule) {
  const auto* const found = std::ranges::find(kPrefetchRules, rule, &NamedPrefetch::rule);
  return found == std::end(kPrefetchRules) ? "" : found->name;
}

Predictor::Predictor(PrefetchRule rule, ExpertStages stages, std::shared_ptr<const PastRoutes> past)
    : rule_(rule), stages_(std::move(stages)) {
  for (int s = 0; s < stages_.count(); ++s) {
    weight_.emplace_back(static_cast<std::size_t>(stages_.experts(s)), 0.0f);
    if (rule.rule == Prefetch::kTable) {
      tables_.emplace_back(stages_.experts(s), stages_.experts(stages_.after(s, rule.ahead)));
    }
  }
  last_.resize(weight_.size());
  asked_at_.resize(weight_.size());
  if (rule.rule == Prefetch::kTable && past) {
    for (std::int64_t t = 0; t < past->tokens(); ++t) {
      for (int s = 0; s < stages_.count(); ++s) used(s, past->asked_by(t, s));
    }
  }
  if (rule.rule == Prefetch::kOracle) past_ = std::move(past);
}

void Predictor::used(int stage, std::span<const std::int32_t> experts, std::int64_t rows) {
  static const auto kKept = static_cast<float>(std::exp2(-1 / kHalfLife_tokens));
  const auto index = static_cast<std::size_t>(stage);
  ++asks_;
  if (stage <= last_stage_) first_row_ += std::exchange(rows_, 0);  // the next pass
  rows_ = rows;
  last_stage_ = stage;
  last_[index].assign(experts.begin(), experts.end());
  asked_at_[index] = asks_;
  learn_transition(stage);
  for (float& weight : weight_[index]) weight *= kKept;
  for (const std::int32_t e : experts) weight_[index][static_cast<std::size_t>(e)] += 1;
}

// From the stage that asked `ahead` asks ago, where that is the one that guesses this one: callers that take turns
// break the order.
void Predictor::learn_transition(int stage) {
  if (tables_.empty() || target(stage) < 0) return;
  const auto before = static_cast<std::size_t>(stages_.after(stage, stages_.count() - rule_.ahead));
  if (asks_ > rule_.ahead && asked_at_[before] == asks_ - rule_.ahead) {
    tables_[before].learn(last_[before], last_[static_cast<std::size_t>(stage)]);
  }
}

void Predictor::mark_likely(std::span<const std::int32_t> experts) {
  for (const std::int32_t e : experts) {
    if (static_cast<std::size_t>(e) < likely_.size()) likely_[static_cast<std::size_t>(e)] = 1;
  }
}

// A stage of the next pass belongs to the token after the rows of this one.
void Predictor::ask_oracle(int stage) {
  if (!past_ || past_->tokens() == 0) return;
  const bool next_pass = stage <= last_stage_;
  const std::int64_t first = first_row_ + (next_pass ? rows_ : 0);
  const std::int64_t rows = next_pass ? 1 : std::min(rows_, past_->tokens());
  for (std::int64_t r = first; r < first + rows; ++r) mark_likely(past_->asked_by(r % past_->tokens(), stage));
}

void Predictor::predict(int stage, std::size_t count, std::span<const float> scores, std::vector<std::int32_t>& out) {
  const auto index = static_cast<std::size_t>(stage);
  likely_.assign(weight_[index].size(), 0.0f);
  switch (rule_.rule) {
    case Prefetch::kNone:
      break;
    case Prefetch::kPreviousToken:
      mark_likely(last_[index]);
      break;
    case Prefetch::kPreviousLayer:
      if (last_stage_ >= 0) mark_likely(last_[static_cast<std::size_t>(last_stage_)]);
      break;
    case Prefetch::kNextRouter:
    case Prefetch::kPath:
      std::copy_n(scores.begin(), std::min(scores.size(), likely_.size()), likely_.begin());
      break;
    case Prefetch::kFrequency:
      likely_ = weight_[index];
      break;
    case Prefetch::kTable: {
      const auto before = static_cast<std::size_t>(stages_.after(stage, stages_.count() - rule_.ahead));
      tables_[before].predict(last_[before], weight_[index], likely_);
      break;
    }
    case Prefetch::kOracle:
      ask_oracle(stage);
      break;
  }
  out.clear();
  for (std::size_t e = 0; e < likely_.size(); ++e) {
    if (likely_[e] > 0) out.push_back(static_cast<std::int32_t>(e));
  }
  std::ranges::stable_sort(out, [&](std::int32_t a, std::int32_t b) {
    return likely_[static_cast<std::size_t>(a)] > likely_[static_cast<std::size_t>(b)];
  });
  if (out.size() > count) out.resize(count);
}

}  // namespace junto
