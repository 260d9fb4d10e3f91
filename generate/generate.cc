#include "generate/generate.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "generate/text_stream.h"

namespace junto {
namespace {

constexpr const char* kSamplerState = "sampler";

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// One answer in the making.
class Answer {
 public:
  Answer(Decoder& decoder, const Tokenizer& tokenizer, Sequence& sequence, const GenerateOptions& options)
      : decoder_(decoder), tokenizer_(tokenizer), sequence_(sequence), options_(options), stream_(options.stop) {
    const auto saved = sequence.states.find(kSamplerState);
    random_ = saved == sequence.states.end() ? Random(options.seed) : restore_random(saved->second);
    const std::int64_t own = decoder.model().config.context_length;
    context_ = options.context > 0 ? std::min(options.context, own) : own;
  }

  Generated run(std::span<const std::int32_t> prompt) {
    check_fits(prompt);
    check_sampler(options_.sampler, decoder_.model().config.vocab_size);
    const Clock::time_point start = Clock::now();
    std::span<const float> logits = decoder_.feed(sequence_, prompt, options_.chunk, options_.hooks);
    out_.prompt_tokens = static_cast<std::int64_t>(prompt.size());
    out_.prefill_seconds = seconds_since(start);
    const Clock::time_point decode_start = Clock::now();
    while (next(logits)) {
      logits = decoder_.feed(sequence_, {&out_.ids.back(), 1}, 1, options_.hooks);
      ++out_.decoded;
    }
    out_.decode_seconds = seconds_since(decode_start);
    show(stream_.finish());
    sequence_.states[kSamplerState] = save_random(random_);
    return std::move(out_);
  }

 private:
  void check_fits(std::span<const std::int32_t> prompt) const {
    if (prompt.empty()) fail("generate", "the prompt has no tokens");
    const std::int64_t needed = sequence_.length() + static_cast<std::int64_t>(prompt.size());
    if (needed > context_) {
      fail("prompt", "has " + std::to_string(needed) + " tokens, the context holds " + std::to_string(context_));
    }
  }

  void show(const std::string& text) {
    out_.text += text;
    if (options_.on_text && !text.empty()) options_.on_text(text);
  }

  bool end(Ending ending) {
    out_.ending = ending;
    return false;
  }

  /// Draws a token; true where it is to be fed back.
  bool next(std::span<const float> logits) {
    if (static_cast<int>(out_.ids.size()) >= options_.max_tokens) return end(Ending::kMaxTokens);
    if (options_.interrupted && options_.interrupted->load()) return end(Ending::kInterrupted);
    const std::int32_t token = sample(logits, options_.sampler, sequence_.tokens, random_, scratch_);
    out_.ids.push_back(token);
    if (options_.on_token) options_.on_token(token);
    const bool ends = tokenizer_.is_end_of_generation(token);
    if (ends && !options_.ignore_eos) return end(Ending::kEndOfGeneration);
    if (!tokenizer_.is_special(token)) show(stream_.push(tokenizer_.token_bytes(token)));
    if (stream_.stopped()) return end(Ending::kStopText);
    if (static_cast<int>(out_.ids.size()) >= options_.max_tokens) return end(Ending::kMaxTokens);
    if (sequence_.length() >= context_) return end(Ending::kContextFull);
    return true;
  }

  Decoder& decoder_;
  const Tokenizer& tokenizer_;
  Sequence& sequence_;
  const GenerateOptions& options_;
  TextStream stream_;
  Random random_;
  SamplerScratch scratch_;
  std::int64_t context_ = 0;
  Generated out_;
};

}  // namespace

Generated generate(Decoder& decoder, const Tokenizer& tokenizer, Sequence& sequence,
                   std::span<const std::int32_t> prompt, const GenerateOptions& options) {
  return Answer(decoder, tokenizer, sequence, options).run(prompt);
}

}  // namespace junto
