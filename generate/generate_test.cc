#include "generate/generate.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "format/model_text.h"
#include "format/tokenizer/unicode.h"

namespace junto {
namespace {

class Generate : public testing::Test {
 protected:
  static constexpr const char* kPath = JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/mixtral";

  Generate()
      : checkpoint_(open_checkpoint(kPath)), model_(load_model(checkpoint_)), tokenizer_(load_tokenizer(checkpoint_)) {}

  GenerateOptions options(std::int64_t max_tokens) const {
    GenerateOptions options;
    options.max_tokens = max_tokens;
    options.sampler.temperature = 1.5f;
    options.sampler.min_p = 0.0f;
    options.seed = 11;
    return options;
  }
  Generated run(Sequence& sequence, const std::vector<std::int32_t>& prompt, const GenerateOptions& with) {
    ThreadPool pool(2);
    Decoder decoder(model_, pool);
    return generate(decoder, &*tokenizer_, sequence, prompt, with);
  }
  Generated run(const GenerateOptions& with) {
    Sequence sequence;
    return run(sequence, prompt_, with);
  }
  std::string error_of(Sequence& sequence, const std::vector<std::int32_t>& prompt, const GenerateOptions& with) {
    try {
      run(sequence, prompt, with);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  }

  Checkpoint checkpoint_;
  std::shared_ptr<Model> model_;
  std::optional<Tokenizer> tokenizer_;
  const std::vector<std::int32_t> prompt_ = {40, 50, 60, 70, 80};
};

TEST_F(Generate, SameSeedSameTokensHoweverThePromptIsCut) {
  const Generated first = run(options(40));
  ASSERT_EQ(first.ids.size(), 40u);
  EXPECT_EQ(first.ending, Ending::kMaxTokens);
  for (const int chunk : {0, 1, 2}) {
    GenerateOptions cut = options(40);
    cut.chunk = chunk;
    EXPECT_EQ(run(cut).ids, first.ids) << chunk;
  }
  GenerateOptions other = options(40);
  other.seed = 12;
  EXPECT_NE(run(other).ids, first.ids);
}

TEST_F(Generate, RestoredSequenceGoesOnWithTheSameTokens) {
  const Generated whole = run(options(30));
  Sequence sequence;
  const Generated head = run(sequence, prompt_, options(12));
  ThreadPool pool(1);
  const Decoder decoder(model_, pool);
  const auto bytes = save_sequence(sequence, decoder.kv_layout(), model_->fingerprint);
  Sequence restored = restore_sequence(bytes, decoder.kv_layout(), model_->fingerprint, "test");
  GenerateOptions rest = options(18);
  rest.seed = 999;  // the sequence brings its own state
  const Generated tail = run(restored, {head.ids.back()}, rest);
  std::vector<std::int32_t> joined = head.ids;
  joined.insert(joined.end(), tail.ids.begin(), tail.ids.end());
  EXPECT_EQ(joined, whole.ids);
}

TEST_F(Generate, EndTokenEndsAndIsPartOfTheIds) {
  const Generated free = run(options(40));
  GenerateOptions ending = options(40);
  ending.end_ids = {free.ids[7]};
  const Generated ended = run(ending);
  const auto first = std::ranges::find(free.ids, free.ids[7]);
  EXPECT_EQ(ended.ending, Ending::kEndOfGeneration);
  EXPECT_EQ(ended.ids, std::vector<std::int32_t>(free.ids.begin(), first + 1));
  ending.ignore_eos = true;
  EXPECT_EQ(run(ending).ids, free.ids);
}

TEST_F(Generate, StopTextEndsAndIsNoPartOfTheText) {
  const Generated free = run(options(60));
  ASSERT_GT(free.text.size(), 30u);
  std::size_t at = free.text.size() / 2;
  while ((static_cast<unsigned char>(free.text[at]) & 0xC0) == 0x80) ++at;
  GenerateOptions stopping = options(60);
  stopping.stop = {"\x01never", free.text.substr(at, 6)};
  std::string streamed;
  stopping.on_text = [&](std::string_view piece) { streamed += piece; };
  const Generated stopped = run(stopping);
  EXPECT_EQ(stopped.ending, Ending::kStopText);
  EXPECT_EQ(stopped.text, free.text.substr(0, free.text.find(stopping.stop[1])));
  EXPECT_EQ(streamed, stopped.text);
}

TEST_F(Generate, StreamIsWholeCharactersAndTheTextOfTheIds) {
  GenerateOptions streaming = options(100);
  std::string streamed;
  streaming.on_text = [&](std::string_view piece) {
    EXPECT_EQ(text::valid_utf8_prefix(piece), piece.size());
    streamed += piece;
  };
  const Generated answer = run(streaming);
  EXPECT_EQ(streamed, answer.text);
  EXPECT_EQ(answer.text, tokenizer_->decode(answer.ids, true));
}

TEST_F(Generate, FullContextEndsTheAnswer) {
  GenerateOptions full = options(-1);
  full.context = 32;
  Sequence sequence;
  const Generated answer = run(sequence, prompt_, full);
  EXPECT_EQ(answer.ending, Ending::kContextFull);
  EXPECT_EQ(sequence.length(), 32);
  EXPECT_EQ(answer.ids.size(), 32 - prompt_.size() + 1);  // the last one is not fed
}

TEST_F(Generate, PromptThatDoesNotFitIsAnErrorBeforeAnythingIsComputed) {
  Sequence sequence;
  GenerateOptions small = options(4);
  small.context = 4;
  EXPECT_EQ(error_of(sequence, prompt_, small), std::string(kPath) + ": prompt has 5 tokens, context is 4");
  EXPECT_EQ(error_of(sequence, std::vector<std::int32_t>(257, 1), options(4)),
            std::string(kPath) + ": prompt has 257 tokens, context is 256");
  EXPECT_EQ(error_of(sequence, {}, options(4)), std::string(kPath) + ": prompt has no tokens");
  EXPECT_EQ(sequence.length(), 0);
}

TEST_F(Generate, OutputThatIsNotFiniteIsAnError) {
  Hooks hooks;
  hooks.edit_points = mask_of(Point::kBlockOutput);
  int calls = 0;
  hooks.edit = [&](Point, int block, MatrixView<float> rows) {
    if (block == 0 && ++calls == 4) rows.at(0, 0) = std::numeric_limits<float>::quiet_NaN();
  };
  GenerateOptions damaged = options(20);
  damaged.hooks = &hooks;
  Sequence sequence;
  // The prompt is the first call, each token one more.
  EXPECT_EQ(error_of(sequence, prompt_, damaged), std::string(kPath) + ": logits are not finite at position 7");
}

TEST_F(Generate, InterruptionEndsTheAnswerAndLeavesTheSequenceUsable) {
  std::atomic<bool> interrupted = false;
  GenerateOptions patient = options(60);
  patient.interrupted = &interrupted;
  std::size_t pieces = 0;
  patient.on_text = [&](std::string_view) { interrupted = ++pieces == 5; };
  Sequence sequence;
  const Generated answer = run(sequence, prompt_, patient);
  EXPECT_EQ(answer.ending, Ending::kInterrupted);
  EXPECT_LT(answer.ids.size(), 60u);
  interrupted = false;
  patient.on_text = nullptr;
  EXPECT_EQ(run(sequence, {1, 2, 3}, patient).ids.size(), 60u);
  interrupted = true;  // before the prompt: nothing is computed
  Sequence untouched;
  EXPECT_EQ(run(untouched, prompt_, patient).ids.size(), 0u);
  EXPECT_EQ(untouched.length(), 0);
}

TEST_F(Generate, CountsItsOwnWork) {
  const Generated answer = run(options(10));
  EXPECT_EQ(answer.prefill.rows, 5);
  EXPECT_EQ(answer.prefill.calls, 1);
  EXPECT_EQ(answer.decode.rows, 9);
  EXPECT_EQ(answer.decode.routed_slots, 9 * 3 * 2);                               // three layers, two experts a token
  EXPECT_EQ((answer.prefill + answer.decode).possible_slots, (14 * 2 + 10) * 6);  // of the prompt's last layer one row
  EXPECT_GT(answer.prefill_tokens_per_second(), 0);
  EXPECT_GT(answer.decode_tokens_per_second(), 0);
}

TEST_F(Generate, NeedsNoTokenizer) {
  ThreadPool pool(1);
  Decoder decoder(model_, pool);
  Sequence sequence;
  const Generated answer = generate(decoder, nullptr, sequence, prompt_, options(40));
  EXPECT_EQ(answer.ids, run(options(40)).ids);
  EXPECT_EQ(answer.text, "");
}

}  // namespace
}  // namespace junto
