#include "cli/sampling_arguments.h"

#include <charconv>
#include <random>
#include <string_view>

#include "base/error.h"

namespace junto {
namespace {

/// Adds "15=-100,27=2.5".
void add_biases(std::string_view text, std::int64_t vocabulary, SamplerOptions& sampling) {
  while (!text.empty()) {
    const std::string_view entry = text.substr(0, text.find(','));
    text.remove_prefix(std::min(entry.size() + 1, text.size()));
    const std::size_t equals = std::min(entry.find('='), entry.size());
    std::int32_t id = -1;
    float bias = 0;
    const char* id_end = entry.data() + equals;
    const char* end = entry.data() + entry.size();
    const bool parsed = equals < entry.size() && std::from_chars(entry.data(), id_end, id).ptr == id_end &&
                        std::from_chars(id_end + 1, end, bias).ptr == end && id_end + 1 < end;
    if (!parsed) fail("--logit-bias", "entry is " + printable(entry) + ", expected ID=BIAS as in 15=-100,27=2.5");
    if (id < 0 || id >= vocabulary) {
      fail("--logit-bias", "id is " + std::to_string(id) + ", expected 0.." + std::to_string(vocabulary - 1));
    }
    sampling.logit_bias[id] = bias;
  }
}

}  // namespace

std::vector<Argument> sampling_arguments(SamplingArguments& options) {
  return {
      {.name = "-n,--max-tokens",
       .target = &options.max_tokens,
       .value = "N",
       .help = "Most tokens of the answer (default 512); -1: until the context ends",
       .low = -1,
       .high = 1e15},
      {.name = "--temp",
       .target = &options.temperature,
       .value = "T",
       .help = "Temperature; 0 takes the likeliest token",
       .low = 0,
       .high = 1e6},
      {.name = "--top-k",
       .target = &options.top_k,
       .value = "K",
       .help = "Of the K likeliest tokens; 0: all",
       .low = 0},
      {.name = "--top-p",
       .target = &options.top_p,
       .value = "P",
       .help = "Of the likeliest tokens that together reach P",
       .low = 0,
       .high = 1},
      {.name = "--min-p",
       .target = &options.min_p,
       .value = "P",
       .help = "Of tokens at least P times as likely as the likeliest",
       .low = 0,
       .high = 1},
      {.name = "--typical-p",
       .target = &options.typical_p,
       .value = "P",
       .help = "Of the most typical tokens that together reach P",
       .low = 0,
       .high = 1},
      {.name = "--repeat-penalty",
       .target = &options.repeat_penalty,
       .value = "R",
       .help = "Divides the logits of tokens that the text has (1: off)",
       .low = 1e-3,
       .high = 1e3},
      {.name = "--presence-penalty",
       .target = &options.presence_penalty,
       .value = "A",
       .help = "Taken off the logits of tokens that the text has",
       .low = -1e3,
       .high = 1e3},
      {.name = "--frequency-penalty",
       .target = &options.frequency_penalty,
       .value = "A",
       .help = "Taken off for each time that the text has the token",
       .low = -1e3,
       .high = 1e3},
      {.name = "--penalty-last-n",
       .target = &options.penalty_last_n,
       .value = "N",
       .help = "Tokens that the penalties look back at; -1: all (default 64)",
       .low = -1},
      {.name = "--logit-bias",
       .target = &options.logit_bias,
       .value = "ID=B",
       .help = "Added to a token's logit; several with commas"},
      {.name = "--seed",
       .target = &options.seed,
       .value = "S",
       .help = "Of the random numbers: the same seed gives the same text"},
      {.name = "--stop",
       .target = &options.stop,
       .value = "TEXT",
       .help = "End the answer before this text; may be given several times"},
      {.name = "--ignore-eos", .target = &options.ignore_eos, .help = "Go on after end-of-generation tokens"},
  };
}

GenerateOptions generate_options(const SamplingArguments& given, const Session& session, const ContextLimit& context,
                                 int chunk) {
  GenerateOptions options;
  options.sampler = sampler_options(given, session.checkpoint, session.model->config.vocab_size);
  options.seed = given.seed ? *given.seed : std::uint64_t{std::random_device{}()} << 32 | std::random_device{}();
  options.max_tokens = given.max_tokens.value_or(options.max_tokens);
  options.stop = given.stop;
  options.end_ids = end_of_generation(session.checkpoint, session.tokenizer ? &*session.tokenizer : nullptr);
  options.ignore_eos = given.ignore_eos;
  options.context = context.tokens;
  options.chunk = chunk;
  return options;
}

SamplerOptions sampler_options(const SamplingArguments& given, const Checkpoint& checkpoint, std::int64_t vocabulary) {
  SamplerOptions sampling = recommended_sampler(checkpoint);
  const auto take = [](const auto& from, auto& to) {
    if (from) to = *from;
  };
  take(given.temperature, sampling.temperature);
  take(given.top_k, sampling.top_k);
  take(given.top_p, sampling.top_p);
  take(given.min_p, sampling.min_p);
  take(given.typical_p, sampling.typical_p);
  take(given.repeat_penalty, sampling.repetition_penalty);
  take(given.presence_penalty, sampling.presence_penalty);
  take(given.frequency_penalty, sampling.frequency_penalty);
  take(given.penalty_last_n, sampling.penalty_last_n);
  for (const std::string& biases : given.logit_bias) add_biases(biases, vocabulary, sampling);
  return sampling;
}

}  // namespace junto
