// How the next token is chosen, on the command line: what run and chat share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/session.h"
#include "format/checkpoint.h"
#include "generate/generate.h"

namespace junto {

/// Options as given; what is not given is the checkpoint's own, or the default.
struct SamplingArguments {
  std::optional<float> temperature, top_p, min_p, typical_p;
  std::optional<float> repeat_penalty, presence_penalty, frequency_penalty;
  std::optional<int> top_k, penalty_last_n;
  std::optional<std::uint64_t> seed;
  std::vector<std::string> logit_bias;  // "ID=BIAS", several with commas
  std::vector<std::string> stop;
  std::optional<std::int64_t> max_tokens;
  bool ignore_eos = false;
};

std::vector<Argument> sampling_arguments(SamplingArguments& options);

/// What generate() takes, but for hooks and callbacks.
GenerateOptions generate_options(const SamplingArguments& given, const Session& session, const ContextLimit& context,
                                 int chunk);

/// What the checkpoint recommends, and over it what the user gave. Throws Error on a malformed --logit-bias and ids
/// outside the vocabulary.
SamplerOptions sampler_options(const SamplingArguments& given, const Checkpoint& checkpoint, std::int64_t vocabulary);

}  // namespace junto
