// A model whose experts are streamed computes what it computes in memory, to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "format/test_directory.h"
#include "model/decoder.h"
#include "model/path_predictor.h"
#include "model/test_path_predictor.h"

namespace junto {
namespace {

class Streaming : public testing::TestWithParam<const char*> {
 protected:
  std::string path() const { return std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/" + GetParam(); }
};

// Logits of a prompt and of a few tokens after it.
std::vector<float> logits_of(const std::shared_ptr<Model>& model, ThreadPool& pool, const RoutingPolicy& policy = {}) {
  Decoder decoder(model, pool);
  Sequence sequence;
  sequence.policy = policy;
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(3 + (i * 37 + i * i) % 370);
  std::vector<float> all;
  for (const std::size_t count : {14u, 1u, 1u, 4u}) {
    const auto part = std::span(ids).subspan(sequence.tokens.size(), count);
    const std::span<const float> logits = decoder.feed(sequence, part);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

void expect_the_bits_of(const std::vector<float>& expected, const std::string& path, const LoadOptions& options,
                        ThreadPool& pool) {
  const std::shared_ptr<Model> model = load_model(path, options);
  ASSERT_TRUE(model->cache);
  const std::vector<float> found = logits_of(model, pool);
  ASSERT_EQ(found.size(), expected.size());
  EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0)
      << options.expert_memory << " " << evict_name(options.evict) << " " << prefetch_name(options.prefetch);
  EXPECT_GT(model->cache->counters().misses, 0);
}

TEST_P(Streaming, GivesTheBitsOfTheResidentModel) {
  ThreadPool pool(2);
  LoadOptions options;
  options.pool = &pool;
  const std::vector<float> expected = logits_of(load_model(path(), options), pool);
  for (const std::int64_t budget : {80000, 150000, 10000000}) {
    for (const Evict evict : {Evict::kLru, Evict::kLayer, Evict::kPredicted}) {
      options.expert_memory = budget;
      options.evict = evict;
      options.prefetch = evict == Evict::kLru ? Prefetch::kNextRouter : Prefetch::kFrequency;
      options.read_engine = evict == Evict::kLru ? ReadEngine::kThreads : ReadEngine::kAuto;
      expect_the_bits_of(expected, path(), options, pool);
    }
  }
}

/// Ids that rise by one from token to token: wrong, of most models.
std::shared_ptr<const PastRoutes> made_up_routes(const Model& model) {
  const std::vector<int> layers = model.cache->experts_of_layers();
  PastRoutes past;
  for (const int experts : layers) {
    if (experts > 0) past.experts.push_back(experts);
  }
  for (std::int32_t t = 0; t < 9; ++t) {
    for (const int experts : past.experts) past.asked.push_back({t % experts});
  }
  return std::make_shared<const PastRoutes>(std::move(past));
}

TEST_P(Streaming, NoGuessChangesABit) {
  ThreadPool pool(2);
  LoadOptions options;
  options.pool = &pool;
  const std::vector<float> expected = logits_of(load_model(path(), options), pool);
  options.expert_memory = 150000;
  const std::shared_ptr<Model> streamed = load_model(path(), options);
  const auto past = made_up_routes(*streamed);
  const TestDirectory directory;
  write_path_predictor(directory.path("paths.gguf"), past->experts, streamed->config.vocab_size);
  for (const NamedPrefetch& named : all_prefetch_rules()) {
    options.prefetch = named.rule;
    options.evict = named.rule.ahead > 1 ? Evict::kPredicted : Evict::kLayer;
    options.past = named.rule.rule == Prefetch::kOracle || named.rule.ahead > 1 ? past : nullptr;
    if (named.rule.rule == Prefetch::kPath) {
      if (!options.paths) {
        EXPECT_THROW(load_model(path(), options), Error);
      }
      options.paths = load_path_predictor(directory.path("paths.gguf"));
    }
    expect_the_bits_of(expected, path(), options, pool);
  }
  PastRoutes other = *past;
  ++other.experts.back();
  options.past = std::make_shared<const PastRoutes>(other);
  EXPECT_THROW(load_model(path(), options), Error);
}

TEST_P(Streaming, ExpertsInterleavedWhenFirstAskedForGiveTheSameBits) {
  ThreadPool pool(2);
  LoadOptions options;
  options.pool = &pool;
  const std::vector<float> expected = logits_of(load_model(path(), options), pool);
  options.lazy_experts = true;
  const std::shared_ptr<Model> model = load_model(path(), options);
  ASSERT_TRUE(model->cache);
  EXPECT_EQ(model->cache->slots(), model->cache->experts());
  EXPECT_EQ(logits_of(model, pool), expected);
  EXPECT_EQ(logits_of(model, pool), expected);
  EXPECT_LE(model->cache->counters().misses, model->cache->experts());
}

TEST_P(Streaming, AReplacedExpertIsNotRead) {
  ThreadPool pool(2);
  LoadOptions options;
  options.expert_memory = 10000000;
  const std::shared_ptr<Model> streamed = load_model(path(), options), resident = load_model(path());
  const auto layers = resident->experts->snapshot()->layers.size();
  for (std::size_t l = 0; l < layers; ++l) {
    const ExpertLayer layer = resident->experts->snapshot()->layers[l];
    if (layer.experts.empty() || !has_weights(layer.experts[1]->kind)) continue;
    for (const auto& model : {streamed, resident}) {
      model->experts->replace(static_cast<int>(l), 0, ExpertWeights(*layer.experts[1]), "test");
    }
  }
  EXPECT_EQ(logits_of(streamed, pool), logits_of(resident, pool));
}

RoutingPolicy lossy(std::optional<float> margin, std::optional<bool> skip_late) {
  RoutingPolicy policy;
  policy.all.prefer_resident = margin;
  policy.all.skip_late = skip_late;
  return policy;
}

TEST_P(Streaming, LossyPoliciesChangeNothingWithoutMarginOrWithRoomForAll) {
  ThreadPool pool(2);
  LoadOptions options;
  options.pool = &pool;
  const std::vector<float> expected = logits_of(load_model(path(), options), pool);
  options.expert_memory = 80000;
  const std::shared_ptr<Model> tight = load_model(path(), options);
  EXPECT_EQ(logits_of(tight, pool, lossy(0.0f, false)), expected);
  options.expert_memory = 10000000;
  for (const bool again : {false, true}) {
    const std::shared_ptr<Model> roomy = load_model(path(), options);
    EXPECT_EQ(roomy->cache->slots(), roomy->cache->experts());
    EXPECT_EQ(logits_of(roomy, pool, lossy(std::nullopt, true)), expected);
    EXPECT_EQ(roomy->cache->counters().skipped_slots, 0);
    // Every expert is in memory once all were asked for; from then on a margin has nobody to move.
    for (int layer = 0; layer < static_cast<int>(roomy->config.blocks.size()); ++layer) {
      std::vector<std::int32_t> all;
      const ExpertLayer experts = roomy->experts->snapshot()->layers[static_cast<std::size_t>(layer)];
      for (std::size_t e = 0; e < experts.experts.size(); ++e) {
        if (has_weights(experts.experts[e]->kind)) all.push_back(static_cast<std::int32_t>(e));
      }
      roomy->cache->run(layer, all, [](std::span<const std::int32_t>) {});
    }
    EXPECT_EQ(logits_of(roomy, pool, lossy(0.5f, again)), expected);
    EXPECT_EQ(roomy->cache->counters().preferred_slots, 0);
  }
}

TEST_P(Streaming, LossyPoliciesReadLessAreCountedAndRepeatable) {
  ThreadPool pool(2);
  LoadOptions options;
  options.pool = &pool;
  // Slots for all that a layer can ask for and one more: who goes does not depend on what arrives first.
  options.expert_memory = 10000000;
  const std::shared_ptr<Model> roomy = load_model(path(), options);
  std::size_t most = 0;
  for (const ExpertLayer& layer : roomy->experts->snapshot()->layers) most = std::max(most, layer.experts.size());
  options.expert_memory = static_cast<std::int64_t>((most + 1) * roomy->cache->slot_bytes());
  const auto run = [&](const RoutingPolicy& policy) {
    const std::shared_ptr<Model> model = load_model(path(), options);
    const std::vector<float> logits = logits_of(model, pool, policy);
    return std::pair(logits, model->cache->counters());
  };
  const auto [own, own_counters] = run({});
  const auto [preferred, preferred_counters] = run(lossy(0.2f, std::nullopt));
  const auto [skipped, skipped_counters] = run(lossy(std::nullopt, true));
  EXPECT_EQ(own_counters.preferred_slots + own_counters.skipped_slots, 0);
  EXPECT_EQ(preferred_counters.skipped_slots, 0);
  EXPECT_EQ(skipped_counters.preferred_slots, 0);
  EXPECT_EQ(preferred == own, preferred_counters.preferred_slots == 0);
  EXPECT_EQ(skipped == own, skipped_counters.skipped_slots == 0);
  EXPECT_GT(preferred_counters.preferred_slots + skipped_counters.skipped_slots, 0);
  EXPECT_LE(skipped_counters.bytes_read, own_counters.bytes_read);
  EXPECT_EQ(run(lossy(0.2f, std::nullopt)).first, preferred);
}

TEST_P(Streaming, LossyPoliciesAreRefusedWhereExpertsAreInMemory) {
  ThreadPool pool(2);
  LoadOptions options;
  options.pool = &pool;
  for (const bool lazy : {false, true}) {
    options.lazy_experts = lazy;
    try {
      logits_of(load_model(path(), options), pool, lossy(0.1f, std::nullopt));
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("prefer_resident is for experts that are streamed"), std::string::npos);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Streaming,
                         testing::Values("olmoe", "mixtral", "deepseek_v3", "qwen2_moe", "longcat_flash"),
                         [](const auto& model) { return std::string(model.param); });

TEST(StreamingRefused, WhereExpertsAreUnpackedOnLoading) {
  LoadOptions options;
  options.expert_memory = 1 << 20;
  try {
    load_model(std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/llama4", options);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("cannot be streamed; convert it first"), std::string::npos);
  }
}

}  // namespace
}  // namespace junto
