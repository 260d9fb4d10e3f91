// A model whose experts are streamed computes what it computes in memory, to the bit.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/decoder.h"

namespace junto {
namespace {

class Streaming : public testing::TestWithParam<const char*> {
 protected:
  std::string path() const { return std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/" + GetParam(); }
};

// Logits of a prompt and of a few tokens after it.
std::vector<float> logits_of(const std::shared_ptr<Model>& model, ThreadPool& pool) {
  Decoder decoder(model, pool);
  Sequence sequence;
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

TEST_P(Streaming, GivesTheBitsOfTheResidentModel) {
  ThreadPool pool(2);
  LoadOptions options;
  options.pool = &pool;
  const std::vector<float> expected = logits_of(load_model(path(), options), pool);
  for (const std::int64_t budget : {80000, 150000, 10000000}) {
    for (const Evict evict : {Evict::kLru, Evict::kLayer}) {
      options.expert_memory = budget;
      options.evict = evict;
      options.prefetch = evict == Evict::kLru ? Prefetch::kNextRouter : Prefetch::kFrequency;
      options.read_engine = evict == Evict::kLru ? ReadEngine::kThreads : ReadEngine::kAuto;
      const std::shared_ptr<Model> model = load_model(path(), options);
      ASSERT_TRUE(model->cache);
      const std::vector<float> found = logits_of(model, pool);
      ASSERT_EQ(found.size(), expected.size());
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0) << budget;
      EXPECT_GT(model->cache->counters().misses, 0);
    }
  }
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
