// How well a model predicts a text: perplexity, and how far it is from another model's predictions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "base/thread_pool.h"
#include "model/decoder.h"

namespace junto {

struct PerplexityOptions {
  int window = 512;                                   // positions of a window, at least 2
  std::optional<std::int32_t> bos;                    // takes the first position of every window and is not scored
  int chunk = 512;                                    // tokens a call; 0: a window at once
  RoutingPolicy policy;                               // of the model; the reference always routes as it is
  std::function<void(std::int64_t tokens)> progress;  // called with the tokens done since the last call
};

/// Kullback-Leibler divergence KL(reference || model) in nats, over the scored positions.
struct Divergence {
  double mean_kl = 0;
  double p99_kl = 0;          // 99th percentile, nearest rank
  double top1_agreement = 0;  // share of positions where both find the same token likeliest
};

struct Perplexity {
  double perplexity = 0;      // exp(mean_nll)
  double mean_nll = 0;        // nats per scored token
  double standard_error = 0;  // of mean_nll
  std::int64_t tokens = 0;    // scored
  std::int64_t windows = 0;
  std::optional<Divergence> against;
};

/// Windows do not overlap; each is a fresh sequence, and positions 1 to window - 1 are scored. Tokens after the last
/// full window are left out. Throws Error naming `where` for a text without one full window.
Perplexity measure_perplexity(Decoder& model, Decoder* reference, ThreadPool& pool, std::span<const std::int32_t> text,
                              const PerplexityOptions& options, std::string_view where);

/// -ln softmax(logits)[token], in double.
double negative_log_likelihood(std::span<const float> logits, std::int32_t token);

/// KL(p || q) of the softmax of two rows of logits, in double.
double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits);

}  // namespace junto
