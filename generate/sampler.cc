#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <unordered_map>

#include "base/error.h"

namespace junto {
namespace {

using Candidate = SamplerScratch::Candidate;

void check_range(const char* name, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    fail(name, "is " + std::to_string(value) + ", expected " + std::to_string(low) + " to " + std::to_string(high));
  }
}

bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

void penalise(const SamplerOptions& o, std::span<const std::int32_t> history, std::vector<float>& logits) {
  if (o.repetition_penalty == 1.0f && o.presence_penalty == 0.0f && o.frequency_penalty == 0.0f) return;
  if (o.penalty_last_n >= 0)
    history = history.last(std::min(history.size(), static_cast<std::size_t>(o.penalty_last_n)));
  std::unordered_map<std::int32_t, int> count;
  for (const std::int32_t token : history) {
    if (token >= 0 && static_cast<std::size_t>(token) < logits.size()) ++count[token];
  }
  for (const auto& [token, times] : count) {
    float& logit = logits[token];
    logit = logit > 0 ? logit / o.repetition_penalty : logit * o.repetition_penalty;
    logit -= o.presence_penalty + static_cast<float>(times) * o.frequency_penalty;
  }
}

// Probabilities at temperature 1 of what is left, likeliest first.
void normalise(std::vector<Candidate>& candidates) {
  double sum = 0;
  for (Candidate& c : candidates) sum += c.probability = std::exp(double(c.logit) - candidates[0].logit);
  for (Candidate& c : candidates) c.probability /= sum;
}

void keep_top_k(std::vector<Candidate>& candidates, std::size_t k) {
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(k), candidates.end(),
                    likelier);
  candidates.resize(k);
}

void keep_top_p(std::vector<Candidate>& candidates, float p) {
  double sum = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    sum += candidates[i].probability;
    if (sum >= p) {
      candidates.resize(i + 1);
      return normalise(candidates);
    }
  }
}

// Those whose surprise is nearest to the distribution's entropy, until their mass reaches p.
void keep_typical(std::vector<Candidate>& candidates, float p) {
  double entropy = 0;
  for (const Candidate& c : candidates) {
    if (c.probability > 0) entropy -= c.probability * std::log(c.probability);
  }
  const auto distance = [&](const Candidate& c) {
    return std::abs(-std::log(std::max(c.probability, 1e-300)) - entropy);
  };
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](const Candidate& a, const Candidate& b) { return distance(a) < distance(b); });
  double sum = 0;
  std::size_t kept = 0;
  while (kept < candidates.size() && sum < p) sum += candidates[kept++].probability;
  candidates.resize(kept);
  std::sort(candidates.begin(), candidates.end(), likelier);
  normalise(candidates);
}

void keep_min_p(std::vector<Candidate>& candidates, float p) {
  const double least = p * candidates[0].probability;
  std::erase_if(candidates, [&](const Candidate& c) { return c.probability < least; });
  normalise(candidates);
}

std::int32_t greedy(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

void check_finite(std::span<const float> logits) {
  bool any = false;
  for (const float logit : logits) {
    if (std::isnan(logit) || logit == INFINITY) fail("sampler", "a logit is not finite: the model's output is damaged");
    any = any || logit != -INFINITY;
  }
  if (!any) fail("sampler", "no logit is finite: the model's output is damaged");
}

}  // namespace

void check_sampler(const SamplerOptions& o, std::int64_t vocab_size) {
  check_range("temperature", o.temperature, 0, 100);
  check_range("top_k", o.top_k, 0, INT32_MAX);
  check_range("top_p", o.top_p, 0, 1);
  check_range("min_p", o.min_p, 0, 1);
  check_range("typical_p", o.typical_p, 0, 1);
  check_range("repetition_penalty", o.repetition_penalty, 1e-3, 1000);
  check_range("presence_penalty", o.presence_penalty, -1000, 1000);
  check_range("frequency_penalty", o.frequency_penalty, -1000, 1000);
  check_range("penalty_last_n", o.penalty_last_n, -1, INT32_MAX);
  for (const auto& [token, bias] : o.logit_bias) {
    check_range("logit_bias token", token, 0, static_cast<double>(vocab_size - 1));
    if (std::isnan(bias) || bias == INFINITY)
      fail("logit_bias", "of token " + std::to_string(token) + " is not a number");
  }
}

std::int32_t sample(std::span<const float> logits, const SamplerOptions& o, std::span<const std::int32_t> history,
                    Random& random, SamplerScratch& scratch) {
  check_finite(logits);
  scratch.logits.assign(logits.begin(), logits.end());
  for (const auto& [token, bias] : o.logit_bias) scratch.logits[token] += bias;
  penalise(o, history, scratch.logits);
  if (o.temperature == 0) return greedy(scratch.logits);
  std::vector<Candidate>& candidates = scratch.candidates;
  candidates.clear();
  // A token below e^-40 of the best adds nothing that a draw of 53 bits can see; leaving it out makes the sort short.
  const float best = *std::max_element(scratch.logits.begin(), scratch.logits.end());
  const float least = best - 40.0f * std::max(1.0f, o.temperature);
  for (std::size_t i = 0; i < scratch.logits.size(); ++i) {
    if (scratch.logits[i] >= least) candidates.push_back({static_cast<std::int32_t>(i), scratch.logits[i], 0});
  }
  const std::size_t k = o.top_k > 0 ? std::min<std::size_t>(o.top_k, candidates.size()) : candidates.size();
  keep_top_k(candidates, k);
  normalise(candidates);
  if (o.typical_p < 1) keep_typical(candidates, o.typical_p);
  if (o.top_p < 1) keep_top_p(candidates, o.top_p);
  if (o.min_p > 0) keep_min_p(candidates, o.min_p);
  double sum = 0;
  for (Candidate& c : candidates) {
    sum += c.probability = std::exp((double(c.logit) - candidates[0].logit) / o.temperature);
  }
  double left = random.uniform() * sum;
  for (const Candidate& c : candidates) {
    if ((left -= c.probability) < 0) return c.token;
  }
  return candidates.back().token;
}

SamplerOptions recommended_sampler(const Checkpoint& checkpoint) {
  SamplerOptions o;
  const auto read = [&](const char* hf, const char* gguf, auto& value) {
    using Value = std::remove_reference_t<decltype(value)>;
    if (checkpoint.kind == Checkpoint::Kind::kGguf) {
      const std::string key = std::string("general.sampling.") + gguf;
      if (const auto found = checkpoint.metadata.number(key)) value = static_cast<Value>(*found);
    } else if (checkpoint.generation_config.is_object()) {
      const auto found = checkpoint.generation_config.find(hf);
      if (found != checkpoint.generation_config.end() && found->is_number())
        value = static_cast<Value>(found->template get<double>());
    }
  };
  read("temperature", "temp", o.temperature);
  read("top_k", "top_k", o.top_k);
  read("top_p", "top_p", o.top_p);
  read("min_p", "min_p", o.min_p);
  read("typical_p", "typical_p", o.typical_p);
  read("repetition_penalty", "penalty_repeat", o.repetition_penalty);
  const Json& config = checkpoint.generation_config;
  if (config.is_object() && config.value("do_sample", Json()) == false) o.temperature = 0;
  return o;
}

std::vector<std::byte> save_random(const Random& random) {
  std::vector<std::byte> bytes(sizeof random.state);
  std::memcpy(bytes.data(), random.state.data(), bytes.size());
  return bytes;
}

Random restore_random(std::span<const std::byte> bytes) {
  Random random;
  if (bytes.size() != sizeof random.state) {
    fail("sampler state",
         "has " + std::to_string(bytes.size()) + " bytes, expected " + std::to_string(sizeof random.state));
  }
  std::memcpy(random.state.data(), bytes.data(), bytes.size());
  return random;
}

}  // namespace junto
