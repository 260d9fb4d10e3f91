#include "generate/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "generate/text_stream.h"

namespace junto {
namespace {

constexpr const char* kSamplerState = "sampler";

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Feeds `ids` in one call. Logits of the last of them, where they are wanted: between the parts of a prompt nobody
// reads them, and with parts of one token they would be most of the work.
std::span<const float> feed_part(Decoder& decoder, Sequence& sequence, std::span<const std::int32_t> ids, bool logits,
                                 const Hooks* hooks) {
  std::vector<Row> rows(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) rows[i].token = ids[i];
  rows.back().logits = logits;
  Sequence* const sequences[] = {&sequence};
  Batch batch;
  batch.sequences = sequences;
  batch.rows = rows;
  batch.hooks = hooks;
  const Outputs outputs = decoder.forward(batch);
  return logits ? outputs.logits.row(0) : std::span<const float>();
}

// One answer in the making.
class Answer {
 public:
  Answer(Decoder& decoder, const Tokenizer* tokenizer, Sequence& sequence, const GenerateOptions& options)
      : decoder_(decoder), tokenizer_(tokenizer), sequence_(sequence), options_(options), stream_(options.stop) {
    const auto saved = sequence.states.find(kSamplerState);
    random_ = saved == sequence.states.end() ? Random(options.seed) : restore_random(saved->second);
    const std::int64_t own = decoder.model().config.context_length;
    context_ = options.context > 0 ? std::min(options.context, own) : own;
  }

  Generated run(std::span<const std::int32_t> prompt) {
    const std::string& where = decoder_.model().path;
    if (prompt.empty()) fail(where, "prompt has no tokens");
    check_prompt_fits(sequence_.length() + static_cast<std::int64_t>(prompt.size()), context_, where);
    check_sampler(options_.sampler, decoder_.model().config.vocab_size);

    const Clock::time_point start = Clock::now();
    const DecoderCounters before = decoder_.counters();
    std::span<const float> logits = feed(prompt);
    const DecoderCounters prefilled = decoder_.counters();
    const std::int64_t prompt_end = sequence_.length();
    if (speculator() != nullptr) speculator()->begin(decoder_.model(), prefilled - before, sequence_.tokens);
    out_.prefill_seconds = seconds_since(start);
    const Clock::time_point decode_start = Clock::now();
    decode(logits);
    out_.decode_seconds = seconds_since(decode_start);
    out_.decode_tokens = sequence_.length() - prompt_end;
    out_.prefill = prefilled - before;
    out_.decode = decoder_.counters() - prefilled;
    if (speculator() != nullptr) out_.speculation = speculator()->count();
    show(stream_.finish());
    sequence_.states[kSamplerState] = save_random(random_);
    return std::move(out_);
  }

 private:
  // Carried router state is of the last position alone, so it could not be taken back: nothing is guessed with it.
  Speculator* speculator() const {
    return options_.hooks == nullptr && sequence_.carries.empty() ? options_.speculator : nullptr;
  }
  bool interrupted() const { return options_.interrupted != nullptr && options_.interrupted->load(); }

  // Logits of the prompt's last token; none where the user did not wait for them.
  std::span<const float> feed(std::span<const std::int32_t> prompt) {
    const std::size_t step = options_.chunk > 0 ? static_cast<std::size_t>(options_.chunk) : prompt.size();
    std::span<const float> logits;
    for (std::size_t first = 0; first < prompt.size() && !interrupted(); first += step) {
      const auto part = prompt.subspan(first, std::min(step, prompt.size() - first));
      logits = feed_part(decoder_, sequence_, part, first + part.size() == prompt.size(), options_.hooks);
      out_.prompt_tokens += static_cast<std::int64_t>(part.size());
    }
    return interrupted() ? std::span<const float>() : logits;
  }

  // Tokens until the answer ends. `logits` are of the last position of the sequence.
  void decode(std::span<const float> logits) {
    bool more = next(logits, sequence_.tokens);
    while (more) {
      const std::span<const std::int32_t> guess = guess_tokens();
      const Clock::time_point start = Clock::now();
      const std::int64_t fed = sequence_.length() + 1;  // where guesses begin
      const MatrixView<const float> rows = feed_guess(guess);
      const double seconds = seconds_since(start);
      // Row i has the logits after i guesses; guesses stay as long as they are what is drawn.
      std::int64_t kept = 0;
      while ((more = next(rows.row(kept), std::span(sequence_.tokens).first(static_cast<std::size_t>(fed + kept)))) &&
             kept < std::ssize(guess) && out_.ids.back() == guess[static_cast<std::size_t>(kept)]) {
        ++kept;
      }
      // All that a sequence knows of a position is in its rows of the cache, convolutions' inputs included.
      truncate(sequence_, fed + kept);
      if (speculator() != nullptr) speculator()->learn(seconds, static_cast<int>(kept));
    }
  }

  // What may follow the token that was drawn last. The answer must have room for each of them and one more.
  std::span<const std::int32_t> guess_tokens() {
    if (speculator() == nullptr) return {};
    std::int64_t most = context_ - sequence_.length() - 1;
    if (options_.max_tokens >= 0) most = std::min(most, options_.max_tokens - std::ssize(out_.ids) - 1);
    text_.assign(sequence_.tokens.begin(), sequence_.tokens.end());
    text_.push_back(out_.ids.back());
    return speculator()->guess(text_, static_cast<int>(std::clamp<std::int64_t>(most, 0, GuessLength::kMost)),
                               options_.sampler, random_);
  }

  // Feeds the last token and guesses; logits of all of them.
  MatrixView<const float> feed_guess(std::span<const std::int32_t> guess) {
    rows_.assign(guess.size() + 1, Row());
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      rows_[i].token = i == 0 ? out_.ids.back() : guess[i - 1];
      rows_[i].logits = true;
    }
    Sequence* const sequences[] = {&sequence_};
    Batch batch;
    batch.sequences = sequences;
    batch.rows = rows_;
    batch.hooks = options_.hooks;
    return decoder_.forward(batch).logits;
  }

  void check_finite(std::span<const float> logits, std::size_t length) const {
    if (std::ranges::all_of(logits, [](float x) { return std::isfinite(x); })) return;
    fail(decoder_.model().path, "logits are not finite at position " + std::to_string(length - 1));
  }

  void show(const std::string& text) {
    out_.text += text;
    if (options_.on_text && !text.empty()) options_.on_text(text);
  }

  bool end(Ending ending) {
    out_.ending = ending;
    return false;
  }

  bool enough() const { return static_cast<std::int64_t>(out_.ids.size()) == options_.max_tokens; }

  /// Draws a token to follow `text`; true where it is to be fed back.
  bool next(std::span<const float> logits, std::span<const std::int32_t> text) {
    if (interrupted()) return end(Ending::kInterrupted);
    if (enough()) return end(Ending::kMaxTokens);
    check_finite(logits, text.size());
    const std::int32_t token = sample(logits, options_.sampler, text, random_, scratch_);
    out_.ids.push_back(token);
    const bool ends = std::ranges::binary_search(options_.end_ids, token);
    if (ends && !options_.ignore_eos) return end(Ending::kEndOfGeneration);
    if (tokenizer_ != nullptr && !tokenizer_->is_special(token)) show(stream_.push(tokenizer_->token_bytes(token)));
    if (stream_.stopped()) return end(Ending::kStopText);
    if (enough()) return end(Ending::kMaxTokens);
    if (std::ssize(text) >= context_) return end(Ending::kContextFull);
    return true;
  }

  Decoder& decoder_;
  const Tokenizer* tokenizer_;
  Sequence& sequence_;
  const GenerateOptions& options_;
  TextStream stream_;
  Random random_;
  SamplerScratch scratch_;
  std::vector<Row> rows_;
  std::vector<std::int32_t> text_;
  std::int64_t context_ = 0;
  Generated out_;
};

}  // namespace

double Generated::prefill_tokens_per_second() const {
  return prefill_seconds > 0 ? static_cast<double>(prompt_tokens) / prefill_seconds : 0;
}

double Generated::decode_tokens_per_second() const {
  return decode_seconds > 0 ? static_cast<double>(decode_tokens) / decode_seconds : 0;
}

void check_prompt_fits(std::int64_t tokens, std::int64_t context, std::string_view where) {
  if (tokens <= context) return;
  fail(where, "prompt has " + std::to_string(tokens) + " tokens, context is " + std::to_string(context));
}

Generated generate(Decoder& decoder, const Tokenizer* tokenizer, Sequence& sequence,
                   std::span<const std::int32_t> prompt, const GenerateOptions& options) {
  return Answer(decoder, tokenizer, sequence, options).run(prompt);
}

DecoderCounters operator+(const DecoderCounters& a, const DecoderCounters& b) {
  DecoderCounters out = a;
  out.rows += b.rows;
  out.calls += b.calls;
  out.routed_slots += b.routed_slots;
  out.possible_slots += b.possible_slots;
  out.routed_rows += b.routed_rows;
  out.bytes_read += b.bytes_read;
  const auto add = [](std::vector<std::int64_t>& to, const std::vector<std::int64_t>& counts) {
    to.resize(std::max(to.size(), counts.size()));
    for (std::size_t i = 0; i < counts.size(); ++i) to[i] += counts[i];
  };
  add(out.slots_of_block, b.slots_of_block);
  add(out.rows_of_block, b.rows_of_block);
  return out;
}

DecoderCounters operator-(const DecoderCounters& now, const DecoderCounters& before) {
  DecoderCounters minus = before;
  for (std::int64_t* count :
       {&minus.rows, &minus.calls, &minus.routed_slots, &minus.possible_slots, &minus.routed_rows, &minus.bytes_read}) {
    *count = -*count;
  }
  for (auto* counts : {&minus.slots_of_block, &minus.rows_of_block}) {
    for (std::int64_t& count : *counts) count = -count;
  }
  return now + minus;
}

}  // namespace junto
