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
#include "generate/speculate.h"
#include "model/decoder.h"

namespace junto {

struct GenerateOptions {
  std::int64_t max_tokens = 512;      // -1: until the context is full
  std::vector<std::int32_t> end_ids;  // end-of-generation tokens, ascending
  bool ignore_eos = false;            // end_ids are tokens like others
  std::vector<std::string> stop;      // texts that end the answer and are no part of it
  int chunk = 512;                    // prompt rows a call; 0: all
  std::int64_t context = 0;           // positions that may be used; 0: the model's own
  SamplerOptions sampler;
  std::uint64_t seed = 0;                              // used where the sequence holds no sampler state yet
  std::function<void(std::string_view text)> on_text;  // whole UTF-8 characters as they come; control tokens have none
  const std::atomic<bool>* interrupted = nullptr;      // set by a signal: the answer ends, the sequence stays usable
  const Hooks* hooks = nullptr;
  /// Guesses tokens; keeps what it learns from answer to answer. The answer is the same without it (null). Nothing
  /// is guessed with hooks, which would be shown rows that are taken back, and with carries.
  Speculator* speculator = nullptr;
};

enum class Ending : std::uint8_t { kEndOfGeneration, kStopText, kMaxTokens, kContextFull, kInterrupted };

struct Generated {
  std::vector<std::int32_t> ids;  // the answer, with the token that ended it; the last one is not in the sequence yet
  std::string text;               // without that token and the stop text
  Ending ending = Ending::kMaxTokens;
  std::int64_t prompt_tokens = 0;   // fed by this call
  double prefill_seconds = 0;       // prompt, until the first token's logits
  double decode_seconds = 0;        // the rest
  std::int64_t decode_tokens = 0;   // of the answer, fed back for the next one's logits
  DecoderCounters prefill, decode;  // executed work of this call, that of tokens taken back included
  SpeculationCount speculation;

  double prefill_tokens_per_second() const;
  /// Of the tokens after the first one, which the prompt's logits give; 0 where there are none.
  double decode_tokens_per_second() const;
};

/// Feeds `prompt` to `sequence` and generates. The generator's state is kept in sequence.states["sampler"], so that a
/// saved sequence goes on with the same tokens. Without a tokenizer (null) there is no text. Throws Error, before
/// anything is computed, where the prompt is empty or does not fit the context (with both counts), and where the
/// model's output is not finite.
Generated generate(Decoder& decoder, const Tokenizer* tokenizer, Sequence& sequence,
                   std::span<const std::int32_t> prompt, const GenerateOptions& options);

/// Throws Error "`where`: prompt has 312 tokens, context is 256" where `tokens` exceed `context`.
void check_prompt_fits(std::int64_t tokens, std::int64_t context, std::string_view where);

/// What `now` counted more than `before`.
DecoderCounters operator-(const DecoderCounters& now, const DecoderCounters& before);
DecoderCounters operator+(const DecoderCounters& a, const DecoderCounters& b);

}  // namespace junto
