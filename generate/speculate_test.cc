#include "generate/speculate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "generate/generate.h"

namespace junto {
namespace {

const std::string kRoot = std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/";

enum class From { kLookup, kItself, kOther };

struct Outcome {
  Generated answer;
  Sequence sequence;
  std::vector<float> next_logits;  // after one token more: what the cache holds shows here
};

// A text that repeats itself, so that lookup finds something.
const std::vector<std::int32_t> kPrompt = {40, 50, 60, 70, 80, 90, 40, 50, 60, 70, 80, 90, 40, 50, 60};

class Speculated : public testing::TestWithParam<const char*> {
 protected:
  Speculated() : model_(load_model(kRoot + GetParam())), other_(load_model(kRoot + "qwen3")) {}

  std::unique_ptr<Speculator> speculator(From from, int length) {
    std::unique_ptr<DraftModel> draft;
    if (from != From::kLookup) {
      draft = std::make_unique<DraftModel>(from == From::kItself ? model_ : other_, pool_, DecoderOptions());
    }
    auto made = std::make_unique<Speculator>(std::move(draft));
    made->fix_length(length);
    return made;
  }

  GenerateOptions options(float temperature) const {
    GenerateOptions options;
    options.max_tokens = 48;
    options.sampler.temperature = temperature;
    options.sampler.repetition_penalty = 1.1f;  // looks at the text before each position
    options.seed = 5;
    return options;
  }

  Outcome run(GenerateOptions options, Speculator* speculator, const RoutingPolicy& policy = {}) {
    Outcome out;
    out.sequence.policy = policy;
    options.speculator = speculator;
    Decoder decoder(model_, pool_);
    out.answer = generate(decoder, nullptr, out.sequence, kPrompt, options);
    Sequence more = out.sequence;
    const std::span<const float> logits = decoder.feed(more, {&kPrompt[0], 1});
    out.next_logits.assign(logits.begin(), logits.end());
    return out;
  }

  static void expect_same(const Outcome& plain, const Outcome& other, const std::string& what) {
    EXPECT_EQ(plain.answer.ids, other.answer.ids) << what;
    EXPECT_EQ(plain.answer.ending, other.answer.ending) << what;
    EXPECT_EQ(plain.sequence.tokens, other.sequence.tokens) << what;
    EXPECT_EQ(plain.sequence.states, other.sequence.states) << what << ": the sampler's state";
    ASSERT_EQ(plain.next_logits.size(), other.next_logits.size());
    EXPECT_EQ(0, std::memcmp(plain.next_logits.data(), other.next_logits.data(), plain.next_logits.size() * 4)) << what;
  }

  ThreadPool pool_{2};
  std::shared_ptr<Model> model_, other_;
};

TEST_P(Speculated, TokensAndStateAreThoseOfPlainDecoding) {
  for (const float temperature : {0.0f, 1.0f}) {
    const Outcome plain = run(options(temperature), nullptr);
    std::int64_t rejected = 0, accepted = 0;
    for (const From from : {From::kLookup, From::kItself, From::kOther}) {
      for (const int length : {1, 5, 15}) {
        const auto with = speculator(from, length);
        const Outcome guessed = run(options(temperature), with.get());
        const SpeculationCount& count = guessed.answer.speculation;
        expect_same(plain, guessed,
                    "temperature " + std::to_string(temperature) + ", length " + std::to_string(length));
        EXPECT_EQ(guessed.answer.decode_tokens, plain.answer.decode_tokens);
        EXPECT_EQ(guessed.answer.decode.calls + count.accepted, plain.answer.decode.calls);
        EXPECT_TRUE(from != From::kItself || count.accepted == count.guessed) << "it knows what it will say";
        accepted += count.accepted;
        rejected += count.guessed - count.accepted;
      }
    }
    EXPECT_GT(accepted, 0);
    EXPECT_GT(rejected, 0) << "nothing was taken back: this proves nothing";
  }
}

INSTANTIATE_TEST_SUITE_P(Oracles, Speculated,
                         testing::Values("llama", "mistral-swa", "mixtral", "olmoe", "deepseek_v3", "lfm2_moe",
                                         "gpt_oss", "jetmoe"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

class SpeculatedMixture : public Speculated {};

TEST_P(SpeculatedMixture, PoliciesRouteGuessesToo) {
  const RoutingPolicy policy = parse_routing_policy("top_k=1;1:mask=!0,!1", "test");
  GenerateOptions few = options(1.0f);
  few.sampler.logit_bias = {{40, 100.0f}, {50, 100.0f}, {60, 100.0f}};  // of three tokens, lookup finds something
  const Outcome plain = run(few, nullptr, policy);
  EXPECT_NE(plain.answer.ids, run(few, nullptr).answer.ids);
  for (const From from : {From::kLookup, From::kOther}) {
    const auto with = speculator(from, 6);
    expect_same(plain, run(few, with.get(), policy), "policy");
    EXPECT_GT(with->count().guessed, 0);
  }
}

TEST_P(SpeculatedMixture, EveryEndIsWhereItWas) {
  const Outcome free = run(options(1.0f), nullptr);
  const auto with = speculator(From::kItself, 7);
  for (const std::size_t last : {0u, 3u, 8u, 13u}) {
    GenerateOptions ending = options(1.0f);
    ending.end_ids = {free.answer.ids[last]};
    expect_same(run(ending, nullptr), run(ending, with.get()), "end token " + std::to_string(last));
    GenerateOptions few = options(1.0f);
    few.max_tokens = static_cast<std::int64_t>(last) + 1;
    expect_same(run(few, nullptr), run(few, with.get()), "max tokens " + std::to_string(last));
    GenerateOptions full = options(1.0f);
    full.max_tokens = -1;
    full.context = static_cast<std::int64_t>(kPrompt.size() + last) + 1;
    expect_same(run(full, nullptr), run(full, with.get()), "context " + std::to_string(last));
  }
}

TEST_P(SpeculatedMixture, NothingIsGuessedWithHooksOrCarries) {
  const auto with = speculator(From::kItself, 7);
  Hooks hooks;
  std::int64_t rows = 0;
  hooks.observe_points = mask_of(Point::kPlan);
  hooks.observe = [&](const Observation& seen) { rows += seen.block == 0 ? seen.plan->units() : 0; };
  GenerateOptions watched = options(1.0f);
  watched.hooks = &hooks;
  const Outcome seen = run(watched, with.get());
  EXPECT_EQ(rows, seen.sequence.length());
  EXPECT_EQ(seen.answer.speculation, SpeculationCount());
  Sequence carrying;
  carrying.carries["velocity"] = {1.0f};
  GenerateOptions plain = options(1.0f);
  plain.speculator = with.get();
  Decoder decoder(model_, pool_);
  EXPECT_EQ(generate(decoder, nullptr, carrying, kPrompt, plain).speculation, SpeculationCount());
}

INSTANTIATE_TEST_SUITE_P(Oracles, SpeculatedMixture, testing::Values("mixtral"));

TEST(DraftModel, OtherVocabularyIsAnErrorThatNamesTheToken) {
  const auto model = load_model(kRoot + "mixtral");
  auto smaller = load_model(kRoot + "llama");
  smaller->config.vocab_size = 12;
  try {
    check_same_vocabulary(*model, nullptr, *smaller, nullptr);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              kRoot + "llama: vocabulary has 12 tokens, expected the 384 of " + kRoot + "mixtral");
  }
  check_same_vocabulary(*model, nullptr, *load_model(kRoot + "llama"), nullptr);
}

// A machine whose calls cost what `cost` says, in units of a plain call, and a text whose tokens come true one after
// the other with certainty `chance` (told by a fixed sequence). Returns speed in terms of plain decoding.
template <class Cost>
double simulate(GuessLength& length, int tokens, double chance, Cost cost) {
  Random random(3);
  double time = 0;
  for (int done = 0; done < tokens;) {
    const int guessed = length.choose(0, 15, 0);
    if (guessed == 0) {
      length.add_plain(1);
      time += 1, done += 1;
      continue;
    }
    int accepted = 0;
    while (accepted < guessed && random.uniform() < chance) ++accepted;
    length.add_guess(0, guessed, accepted, 0, cost(guessed + 1));
    time += cost(guessed + 1), done += accepted + 1;
  }
  return tokens / time;
}

constexpr double kExpected[] = {0.6};
double flat(int rows) {
  return 1 + 0.04 * (rows - 1);
}
double steep(int rows) {
  return 0.5 + 0.5 * rows;  // every row costs half of the first
}

TEST(GuessLength, LongGuessesWhereTheyComeTrue) {
  GuessLength length(kExpected);
  EXPECT_GT(simulate(length, 1000, 0.97, flat), 4);
  EXPECT_GT(length.choose(0, 15, 0), 8);
  EXPECT_EQ(length.choose(0, 3, 0), 3);
}

TEST(GuessLength, ShorterWhereMoreRowsCostMore) {
  GuessLength cheap(kExpected), dear(kExpected);
  simulate(cheap, 2000, 0.8, flat);
  EXPECT_GT(simulate(dear, 2000, 0.8, steep), 1.05);
  EXPECT_LT(dear.choose(0, 15, 0), cheap.choose(0, 15, 0));
}

TEST(GuessLength, SwitchesItselfOffAndLosesNoMoreThanItMay) {
  for (const double chance : {0.0, 0.1, 0.2}) {
    GuessLength length(kExpected);
    EXPECT_GT(simulate(length, 2000, chance, steep), 0.98) << chance;
    GuessLength other(kExpected);
    EXPECT_GT(simulate(other, 200, chance, steep), 0.97) << chance;
  }
}

TEST(GuessLength, ComesBackWhenTheTextRepeatsItself) {
  GuessLength length(kExpected);
  simulate(length, 1000, 0.0, flat);
  EXPECT_GT(simulate(length, 1000, 0.95, flat), 2);
}

TEST(GuessLength, DearDraftsAreNotTaken) {
  GuessLength length(kExpected);
  length.add_plain(1);
  EXPECT_GT(length.choose(0, 15, 0.05), 0);
  EXPECT_EQ(length.choose(0, 15, 1.0), 0);
}

TEST(GuessLength, NothingIsGuessedBeforeAPlainCallIsKnown) {
  EXPECT_EQ(GuessLength(kExpected).choose(0, 15, 0), 0);
}

TEST(GuessLength, ExpectsThatRowsOfAMixtureReadExpertsOfTheirOwn) {
  GuessLength dense(kExpected), mixture(kExpected);
  dense.expect_cost(100, 0, 1);
  mixture.expect_cost(10, 720, 8.0 / 64);
  EXPECT_LT(dense.cost_ratio(4), 1.2);
  // 10 + 720 (1 - (7/8)^4) of 10 + 90 bytes, and the work of three rows more.
  EXPECT_NEAR(mixture.cost_ratio(4), 3.079 * 1.09, 0.01);
  mixture.add_plain(1);
  mixture.add_guess(0, 3, 3, 0, 2.0);
  EXPECT_DOUBLE_EQ(mixture.cost_ratio(4), 2.0);
  EXPECT_LT(mixture.cost_ratio(5), 3.0) << "corrected by what its neighbour cost";
}

}  // namespace
}  // namespace junto
