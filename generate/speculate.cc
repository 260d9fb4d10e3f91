#include "generate/speculate.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/clock.h"

namespace junto {
namespace {

// Shares of tokens that come true by the length of the end that was found again (PromptLookup::kLengths), and of a
// draft model's: where learning begins.
constexpr double kLookupExpected[] = {0.9, 0.75, 0.5, 0.3};
constexpr double kDraftExpected[] = {0.7};

constexpr double kPriorWeight = 2;        // guesses' worth
constexpr double kForget = 0.9;           // of a class, with every guess
constexpr double kRecover = 0.005;        // towards what was expected, with every plain call
constexpr double kExpectedPerRow = 0.03;  // work of one more row, beside what it reads
constexpr int kFirstGuess = 3;            // tokens, before anything was measured
constexpr double kKeptCalls = 8;          // of the balance: gains of long ago do not pay for today's losses

}  // namespace

GuessLength::GuessLength(std::span<const double> expected) {
  for (const double share : expected) {
    classes_.push_back({share, share * kPriorWeight, (1 - share) * kPriorWeight});
  }
  expect_cost(1, 0, 1);
}

void GuessLength::expect_cost(double dense_bytes, double routed_bytes, double used_share) {
  for (std::size_t rows = 1; rows < expected_ratio_.size(); ++rows) {
    const double m = static_cast<double>(rows);
    const double read = dense_bytes + routed_bytes * (1 - std::pow(1 - used_share, m));
    expected_ratio_[rows] = read / (dense_bytes + routed_bytes * used_share) * (1 + kExpectedPerRow * (m - 1));
  }
}

double GuessLength::cost_ratio(int rows) const {
  const auto r = static_cast<std::size_t>(rows);
  if (rows <= 1) return 1;
  if (ratio_[r] > 0) return ratio_[r];
  // What more than one row costs is as expected, corrected by the nearest that was measured.
  for (std::size_t away = 1; away < ratio_.size(); ++away) {
    for (const std::size_t near : {r - std::min(r, away), std::min(r + away, ratio_.size() - 1)}) {
      if (near <= 1 || ratio_[near] <= 0) continue;
      return 1 + (expected_ratio_[r] - 1) * std::max(0.0, ratio_[near] - 1) / (expected_ratio_[near] - 1);
    }
  }
  return expected_ratio_[r];
}

double GuessLength::acceptance(std::size_t guess_class) const {
  const Class& c = classes_[guess_class];
  return std::min(0.98, c.accepted / (c.accepted + c.rejected));
}

int GuessLength::choose(std::size_t guess_class, int most, double draft_ratio) const {
  if (plain_s_ <= 0 || calls_since_plain_ >= kCallsUnmeasured) return 0;
  const double p = acceptance(guess_class);
  const double may_lose_s = balance_s_ + plain_s_ + kLossShare * time_s_;
  int best = 0;
  double best_speed = kGain, tokens = 1, power = 1;
  for (int m = 1; m <= std::min({most, kMost, std::max(kFirstGuess, 2 * longest_)}); ++m) {
    tokens += power *= p;
    const double cost = cost_ratio(m + 1) + m * draft_ratio;
    if ((cost - 1) * plain_s_ > may_lose_s) break;
    if (tokens / cost > best_speed) best = m, best_speed = tokens / cost;
  }
  return best;
}

void GuessLength::add_plain(double seconds) {
  // A call that another program disturbed is not what a call costs.
  plain_s_ = plain_s_ > 0 ? plain_s_ + 0.1 * (std::min(seconds, 2 * plain_s_) - plain_s_) : seconds;
  time_s_ += seconds;
  calls_since_plain_ = 0;
  for (Class& c : classes_) {
    c.accepted += kRecover * (c.expected * kPriorWeight - c.accepted);
    c.rejected += kRecover * ((1 - c.expected) * kPriorWeight - c.rejected);
  }
}

void GuessLength::add_guess(std::size_t guess_class, int guessed, int accepted, double draft_s, double call_s) {
  Class& c = classes_[guess_class];
  c.accepted = c.accepted * kForget + accepted;
  c.rejected = c.rejected * kForget + (accepted < guessed ? 1 : 0);
  time_s_ += draft_s + call_s;
  ++calls_since_plain_;
  longest_ = std::max(longest_, guessed);
  if (plain_s_ <= 0) return;
  double& ratio = ratio_[static_cast<std::size_t>(std::min(guessed, kMost) + 1)];
  const double measured = std::min(call_s / plain_s_, 4 * cost_ratio(guessed + 1));
  ratio = ratio > 0 ? ratio + 0.25 * (measured - ratio) : measured;
  balance_s_ = std::min(balance_s_ + (accepted + 1) * plain_s_ - draft_s - call_s, kKeptCalls * plain_s_);
}

Speculator::Speculator(std::unique_ptr<DraftModel> draft)
    : length_(draft ? std::span<const double>(kDraftExpected) : std::span<const double>(kLookupExpected)),
      draft_(std::move(draft)) {}

void Speculator::begin(const Model& model, const DecoderCounters& prompt, std::span<const std::int32_t> tokens) {
  const double used = prompt.possible_slots > 0
                          ? static_cast<double>(prompt.routed_slots) / static_cast<double>(prompt.possible_slots)
                          : 1.0;
  length_.expect_cost(static_cast<double>(model.block_bytes + model.output.weights.bytes()),
                      static_cast<double>(model.routed_bytes), used);
  guess_.clear();
  count_ = {};
  if (draft_) draft_->read(tokens);
}

std::span<const std::int32_t> Speculator::guess(std::span<const std::int32_t> tokens, int most,
                                                const SamplerOptions& sampler, const Random& random) {
  guess_.clear();
  draft_s_ = 0;
  most = std::min(most, GuessLength::kMost);
  const auto chosen = [&](double draft_ratio) {
    return fixed_ > 0 ? std::min(fixed_, most) : length_.choose(class_, most, draft_ratio);
  };
  if (draft_) {
    class_ = 0;
    // Before its first token was timed, a draft is taken to cost a quarter.
    const double ratio = draft_token_s_ > 0 && length_.plain_s() > 0 ? draft_token_s_ / length_.plain_s() : 0.25;
    const int count = chosen(ratio);
    if (count == 0) return {};
    const double begin = now_s();
    draft_->guess(tokens, count, sampler, random, guess_);
    draft_s_ = now_s() - begin;
  } else {
    lookup_.read(tokens);
    const int found = lookup_.guess(most, guess_);
    if (found < 0) return {};
    class_ = static_cast<std::size_t>(found);
    guess_.resize(std::min(guess_.size(), static_cast<std::size_t>(chosen(0))));
  }
  return guess_;
}

void Speculator::learn(double seconds, int accepted) {
  const int guessed = static_cast<int>(guess_.size());
  if (guessed == 0) return length_.add_plain(seconds);
  length_.add_guess(class_, guessed, accepted, draft_s_, seconds);
  count_.calls += 1;
  count_.guessed += guessed;
  count_.accepted += accepted;
  if (!draft_) return;
  const double token_s = draft_s_ / guessed;
  draft_token_s_ =
      draft_token_s_ > 0 ? draft_token_s_ + 0.2 * (std::min(token_s, 2 * draft_token_s_) - draft_token_s_) : token_s;
}

}  // namespace junto
