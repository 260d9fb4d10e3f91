// A mixture whose layers have rounds (moe/rounds.h), streamed: each round is a stage of its own in the cache, in
// guesses and in traces.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "analyze/route_recorder.h"
#include "analyze/route_replay.h"
#include "analyze/traced_stages.h"
#include "compress/convert.h"
#include "compress/gguf_identity.h"
#include "format/gguf.h"
#include "format/test_directory.h"
#include "model/decoder.h"
#include "model/path_predictor.h"
#include "model/stored_routing.h"
#include "model/test_path_predictor.h"

namespace junto {
namespace {

constexpr int kRounds = 3;
const std::vector<std::int32_t> kIds = {5, 17, 40, 3, 9, 61, 8, 2, 33, 90};

/// The mixtral oracle, each of whose layers is visited three times.
std::string write_rounds(const TestDirectory& directory) {
  ConvertOptions options;
  options.source = std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/mixtral";
  options.out = directory.path("plain.gguf");
  convert(options);
  const Checkpoint checkpoint = open_checkpoint(options.out);
  ModelSource source = describe_model(checkpoint);
  const ModelConfig before = source.config;
  for (BlockSpec& block : source.config.blocks) block.moe.rounds = {.count = kRounds, .own_routers = false};
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, tensor] : source.tensors) tensors.push_back(to_write(name, tensor));
  GgufIdentity identity = identify_for_gguf(checkpoint, source);
  make_junto_only(identity, "rounds");
  const std::optional<Json> routing = stored_routing(source.config, before);
  identity.metadata.set("junto.router", routing.value().dump());
  write_gguf(directory.path("rounds.gguf"), identity.metadata, tensors);
  return directory.path("rounds.gguf");
}

/// Token by token, after a prompt of two. Logits of the last token.
std::vector<float> feed(const std::shared_ptr<Model>& model, const Hooks* hooks = nullptr) {
  ThreadPool pool(2);
  Decoder decoder(model, pool);
  Sequence sequence;
  std::vector<float> logits;
  for (std::size_t at = 0; at < kIds.size();) {
    const std::size_t count = at == 0 ? 2 : 1;
    const auto found = decoder.feed(sequence, std::span(kIds).subspan(at, count), 0, hooks);
    logits.assign(found.begin(), found.end());
    at += count;
  }
  return logits;
}

TEST(StreamedRounds, EachIsAStageOfTraceCacheAndGuesses) {
  const TestDirectory directory;
  const std::string path = write_rounds(directory);
  const std::shared_ptr<Model> resident = load_model(path);
  RouteRecorder recorder(resident->config);
  const Hooks records = recorder.hooks();
  const std::vector<float> expected = feed(resident, &records);
  const RouteTrace trace = make_trace(recorder, resident->config, kIds, {0});
  const int layers = static_cast<int>(resident->config.blocks.size());
  ASSERT_EQ(trace.layers.size(), static_cast<std::size_t>(layers * kRounds));
  EXPECT_EQ(trace.layers[kRounds - 1].round, kRounds - 1);
  EXPECT_EQ(stages_of(trace).rounds, std::vector<int>(static_cast<std::size_t>(layers), kRounds));

  const auto past = std::make_shared<const PastRoutes>(past_routes_of(trace));
  LoadOptions roomy;
  roomy.expert_memory = 1 << 30;
  const auto slot_bytes = static_cast<std::int64_t>(load_model(path, roomy)->cache->slot_bytes());
  write_path_predictor(directory.path("paths.gguf"), past->experts, load_model(path, roomy)->config.vocab_size);
  for (const NamedPrefetch& named : all_prefetch_rules()) {
    LoadOptions tight;
    tight.expert_memory = 12 * slot_bytes;
    tight.evict = Evict::kPredicted;
    tight.prefetch = named.rule;
    if (named.rule.rule == Prefetch::kOracle) tight.past = past;
    if (named.rule.rule == Prefetch::kPath) tight.paths = load_path_predictor(directory.path("paths.gguf"));
    const std::shared_ptr<Model> streamed = load_model(path, tight);
    ASSERT_TRUE(streamed->cache);
    EXPECT_LT(streamed->cache->slots(), streamed->cache->experts());
    EXPECT_EQ(feed(streamed), expected) << named.name;
    const ExpertCacheCounters c = streamed->cache->counters();
    if (named.rule.rule == Prefetch::kOracle) {
      EXPECT_GT(c.guessed, 0) << named.name;
      EXPECT_EQ(c.guessed_right, c.guessed) << named.name;
    }
    if (named.rule == Prefetch::kNextRouter) {  // every stage but a token's first
      EXPECT_GE(c.guessed, static_cast<std::int64_t>(kIds.size() - 2) * (layers * kRounds - 1) * 2);
    }
  }
}

TEST(StreamedRounds, AReplayRoutesEachRoundAsItWas) {
  const TestDirectory directory;
  const std::shared_ptr<Model> model = load_model(write_rounds(directory));
  RouteRecorder recorder(model->config);
  const Hooks records = recorder.hooks();
  const std::vector<float> expected = feed(model, &records);
  RouteReplay replay(make_trace(recorder, model->config, kIds, {0}), model->config, "t");
  const Hooks edits = replay.hooks();
  EXPECT_EQ(feed(model, &edits), expected);
  EXPECT_EQ(replay.next_token(), 0);
}

}  // namespace
}  // namespace junto
