// Lossless speculation: tokens are guessed, one call computes the logits of all of them, and those are kept that the
// sampler draws from these logits. Rows are invariant and each position has its own draw, so the answer is the one of
// plain decoding, token by token; only the time differs.
//
// A call with more rows costs more, and in a mixture of experts a good deal more: every row chooses experts of its own.
// So a Speculator keeps the cost of a call by its rows as measured, and the share of guesses that came true, by how the
// guess was made; it guesses as many tokens as promise the most tokens per second, and none where plain decoding does
// better. What it loses while it finds out is bounded (kLossShare of the time).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "generate/draft_model.h"
#include "generate/prompt_lookup.h"
#include "generate/sampler.h"

namespace junto {

/// What speculation did in one answer.
struct SpeculationCount {
  std::int64_t calls = 0;     // with guesses
  std::int64_t guessed = 0;   // tokens
  std::int64_t accepted = 0;  // of these: each is a call less

  bool operator==(const SpeculationCount&) const = default;
};

/// Decides on the length of guesses from what was measured. Costs are ratios to a call of one row.
class GuessLength {
 public:
  static constexpr int kMost = 15;             // tokens of a guess
  static constexpr double kLossShare = 0.01;   // of the time of decoding that guesses may lose in all
  static constexpr double kGain = 1.05;        // expected speed, in terms of plain decoding, that is worth a try
  static constexpr int kCallsUnmeasured = 64;  // after so many calls with guesses a plain one is measured again

  /// `expected`: for each class of guesses the share of tokens that come true, before any was seen.
  explicit GuessLength(std::span<const double> expected);

  /// What calls cost before any was measured: a call reads dense_bytes, and of routed_bytes (all experts) those that
  /// its rows choose, `used_share` of them each.
  void expect_cost(double dense_bytes, double routed_bytes, double used_share);

  /// Tokens to guess, at most `most`; 0: none. `draft_ratio`: cost of guessing one token.
  int choose(std::size_t guess_class, int most, double draft_ratio) const;

  /// A call of one row took `seconds`.
  void add_plain(double seconds);
  /// A guess of `guessed` tokens took `draft_s` and the call with it `call_s`; `accepted` came true.
  void add_guess(std::size_t guess_class, int guessed, int accepted, double draft_s, double call_s);

  double cost_ratio(int rows) const;
  double acceptance(std::size_t guess_class) const;
  /// Of a call of one row; 0: not known yet.
  double plain_s() const { return plain_s_; }
  /// What guesses have gained against plain decoding, at most a few calls' worth.
  double balance_s() const { return balance_s_; }

 private:
  struct Class {
    double expected, accepted, rejected;
  };
  std::vector<Class> classes_;
  std::array<double, kMost + 2> expected_ratio_{}, ratio_{};  // by rows; ratio_ 0: not measured
  double plain_s_ = 0, time_s_ = 0, balance_s_ = 0;
  int calls_since_plain_ = 0;
  int longest_ = 0;  // guess whose cost was measured: the next is at most twice as long
};

class Speculator {
 public:
  /// Guesses by a draft model, or by prompt lookup where there is none.
  explicit Speculator(std::unique_ptr<DraftModel> draft = nullptr);

  /// Begins an answer of `model` after `tokens`, of which the prompt cost `prompt`. A draft model reads them.
  void begin(const Model& model, const DecoderCounters& prompt, std::span<const std::int32_t> tokens);

  /// Always guesses so many tokens where it can, whatever they cost: for tests and measurements. 0: as promises most.
  void fix_length(int tokens) { fixed_ = tokens; }

  /// Tokens, at most `most`, that may follow `tokens`; empty: decode plainly. They live until the next call. `sampler`
  /// and `random` are those that will draw the tokens.
  std::span<const std::int32_t> guess(std::span<const std::int32_t> tokens, int most, const SamplerOptions& sampler,
                                      const Random& random);

  /// What became of the last guess: the call with it (or, where it was empty, the plain one) took `seconds`, and
  /// `accepted` of its tokens were drawn.
  void learn(double seconds, int accepted);

  const GuessLength& length() const { return length_; }
  /// Since begin().
  const SpeculationCount& count() const { return count_; }

 private:
  GuessLength length_;
  PromptLookup lookup_;
  std::unique_ptr<DraftModel> draft_;
  std::vector<std::int32_t> guess_;
  int fixed_ = 0;
  std::size_t class_ = 0;
  double draft_s_ = 0;        // of the last guess
  double draft_token_s_ = 0;  // of one token of a guess
  SpeculationCount count_;
};

}  // namespace junto
