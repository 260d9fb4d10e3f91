// The generation loop: a prompt into a sequence, then token by token until something ends it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/tokenizer.h"
#include "generate/sampler.h"
#include "model/decoder.h"

namespace junto {

struct GenerateOptions {
  int max_tokens = 512;
  bool ignore_eos = false;
  std::vector<std::string> stop;  // texts that end the answer and are no part of it
  int chunk = 512;                // prompt rows a call; 0: all
  std::int64_t context = 0;       // positions that may be used; 0: the model's own
  SamplerOptions sampler;
  std::uint64_t seed = 0;                              // used where the sequence holds no sampler state yet
  std::function<void(std::string_view text)> on_text;  // whole UTF-8 characters as they come
  std::function<void(std::int32_t token)> on_token;
  const std::atomic<bool>* interrupted = nullptr;  // set by a signal: the answer ends, the sequence stays usable
  const Hooks* hooks = nullptr;
};

enum class Ending : std::uint8_t { kEndOfGeneration, kStopText, kMaxTokens, kContextFull, kInterrupted };

struct Generated {
  std::vector<std::int32_t> ids;  // the answer, with the token that ended it
  std::string text;
  Ending ending = Ending::kMaxTokens;
  std::int64_t prompt_tokens = 0;
  double prefill_seconds = 0;  // prompt, until the first token's logits
  double decode_seconds = 0;   // the rest
  std::int64_t decoded = 0;    // tokens that were fed back
};

/// Feeds `prompt` (not empty) to `sequence` and generates. The generator's state is kept in sequence.states["sampler"],
/// so that a saved sequence goes on with the same tokens. Throws Error, before anything is computed, where the prompt
/// does not fit the context (with both counts), and where the model's output is not finite.
Generated generate(Decoder& decoder, const Tokenizer& tokenizer, Sequence& sequence,
                   std::span<const std::int32_t> prompt, const GenerateOptions& options);

}  // namespace junto
