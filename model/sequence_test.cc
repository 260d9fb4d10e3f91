// A sequence's state is a value; rows of one batch do not touch each other; seams change nothing but what they are
// told.
#include "model/sequence.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "model/decoder.h"

namespace junto {
namespace {

const std::string kRoot = std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/";

std::vector<std::int32_t> some_ids(int count, int seed) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back(3 + (i * 37 + seed * 101 + i * i) % 370);
  return ids;
}

std::vector<float> copy(std::span<const float> values) {
  return {values.begin(), values.end()};
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<std::int32_t> greedy(Decoder& decoder, Sequence& sequence, std::vector<float> logits, int count) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < count; ++i) {
    ids.push_back(static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    logits = copy(decoder.feed(sequence, {&ids.back(), 1}));
  }
  return ids;
}

class SequenceState : public testing::TestWithParam<const char*> {
 protected:
  SequenceState() : pool_(2), model_(load_model(kRoot + GetParam())), decoder_(model_, pool_) {}
  ThreadPool pool_;
  std::shared_ptr<Model> model_;
  Decoder decoder_;
};

TEST_P(SequenceState, ForksShareThePastAndPartWays) {
  Sequence first;
  decoder_.feed(first, some_ids(40, 1));
  Sequence second = first;
  EXPECT_EQ(first.pages[0].get(), second.pages[0].get());
  const std::vector<float> a = copy(decoder_.feed(first, some_ids(3, 2)));
  const std::vector<float> b = copy(decoder_.feed(second, some_ids(3, 3)));
  EXPECT_EQ(first.pages[0].get(), second.pages[0].get());
  EXPECT_NE(first.pages[1].get(), second.pages[1].get());
  Sequence alone;
  decoder_.feed(alone, some_ids(40, 1));
  EXPECT_TRUE(same_bits(a, copy(decoder_.feed(alone, some_ids(3, 2)))));
  EXPECT_FALSE(same_bits(a, b));
}

TEST_P(SequenceState, RowsThatNobodyWantsChangeNothingWhereTheyAreLeftOut) {
  const std::vector<std::int32_t> ids = some_ids(40, 1);
  const auto run = [&](auto wants, Sequence& first, Sequence& second) {
    Sequence* const sequences[] = {&first, &second};
    std::vector<Row> rows(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      rows[i].sequence = i < 25 ? 0 : 1;
      rows[i].token = ids[i];
      rows[i].logits = wants(i);
    }
    Batch batch;
    batch.sequences = sequences;
    batch.rows = rows;
    const MatrixView<const float> logits = decoder_.forward(batch).logits;
    return std::vector<float>(logits.data, logits.data + logits.rows * logits.cols);
  };
  Sequence all[2], some[2], none[2];
  const std::vector<float> whole = run([](std::size_t) { return true; }, all[0], all[1]);
  const std::vector<float> narrow = run([](std::size_t i) { return i == 7 || i == 39; }, some[0], some[1]);
  EXPECT_TRUE(run([](std::size_t) { return false; }, none[0], none[1]).empty());
  const std::size_t vocabulary = whole.size() / ids.size();
  ASSERT_EQ(narrow.size(), 2 * vocabulary);
  EXPECT_EQ(std::memcmp(&whole[7 * vocabulary], &narrow[0], vocabulary * sizeof(float)), 0);
  EXPECT_EQ(std::memcmp(&whole[39 * vocabulary], &narrow[vocabulary], vocabulary * sizeof(float)), 0);
  for (int s = 0; s < 2; ++s) {  // what is computed next sees the same past
    const std::vector<float> after = copy(decoder_.feed(all[s], some_ids(2, 5)));
    EXPECT_TRUE(same_bits(after, copy(decoder_.feed(some[s], some_ids(2, 5)))));
    EXPECT_TRUE(same_bits(after, copy(decoder_.feed(none[s], some_ids(2, 5)))));
  }
}

TEST_P(SequenceState, TruncatedIsAsIfTheRestHadNeverBeen) {
  Sequence sequence;
  decoder_.feed(sequence, some_ids(70, 1));
  truncate(sequence, 33);
  const std::vector<float> cut = copy(decoder_.feed(sequence, some_ids(5, 4)));
  Sequence fresh;
  const std::vector<std::int32_t> ids = some_ids(70, 1);
  decoder_.feed(fresh, std::span(ids).first(33));
  EXPECT_TRUE(same_bits(cut, copy(decoder_.feed(fresh, some_ids(5, 4)))));
  EXPECT_THROW(truncate(sequence, 1000), Error);
}

TEST_P(SequenceState, RestoredInAnotherProcessGoesOnWithTheSameTokens) {
  Sequence sequence;
  const std::vector<float> logits = copy(decoder_.feed(sequence, some_ids(37, 5)));
  sequence.carries["velocity"] = {1.5f, -2.0f};
  sequence.states["sampler"] = {std::byte{1}, std::byte{2}};
  const std::vector<std::byte> saved = save_sequence(sequence, decoder_.kv_layout(), model_->fingerprint);
  const std::vector<std::int32_t> expected = greedy(decoder_, sequence, logits, 12);

  const std::string path = testing::TempDir() + "junto_sequence_" + GetParam();
  const pid_t child = fork();
  if (child == 0) {  // a process of its own: loads the model, restores, goes on
    ThreadPool pool(1);
    const auto model = load_model(kRoot + GetParam());
    Decoder decoder(model, pool);
    Sequence restored = restore_sequence(saved, decoder.kv_layout(), model->fingerprint, "saved");
    const std::int32_t last = restored.tokens.back();
    const bool whole =
        restored.carries["velocity"] == std::vector<float>{1.5f, -2.0f} && restored.states["sampler"].size() == 2;
    truncate(restored, restored.length() - 1);
    const std::vector<std::int32_t> ids = greedy(decoder, restored, copy(decoder.feed(restored, {&last, 1})), 12);
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(ids[0]));
    _exit(whole ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  const std::string text = read_text_file(path, 4096);
  ASSERT_EQ(text.size(), expected.size() * sizeof(expected[0]));
  EXPECT_EQ(std::memcmp(text.data(), expected.data(), text.size()), 0);
}

TEST_P(SequenceState, DamagedOrForeignStateIsRefused) {
  Sequence sequence;
  decoder_.feed(sequence, some_ids(5, 5));
  std::vector<std::byte> saved = save_sequence(sequence, decoder_.kv_layout(), model_->fingerprint);
  EXPECT_THROW(restore_sequence(saved, decoder_.kv_layout(), model_->fingerprint + 1, "s"), Error);
  EXPECT_THROW(restore_sequence(saved, make_kv_layout(model_->config, DType::kF32), model_->fingerprint, "s"), Error);
  for (const std::size_t size : {0ul, 3ul, 11ul, 40ul, saved.size() - 1}) {
    EXPECT_THROW(restore_sequence(std::span(saved).first(size), decoder_.kv_layout(), model_->fingerprint, "s"), Error);
  }
  saved[saved.size() / 2] ^= std::byte{1};
  EXPECT_THROW(restore_sequence(saved, decoder_.kv_layout(), model_->fingerprint, "s"), Error);
}

TEST_P(SequenceState, NeighboursInABatchChangeNoBit) {
  const std::vector<std::int32_t> a = some_ids(20, 1), b = some_ids(9, 2), c = some_ids(31, 3);
  Sequence alone;
  const std::vector<float> expected = copy(decoder_.feed(alone, a));
  Sequence x, y, z;
  Sequence* const sequences[] = {&x, &y, &z};
  std::vector<Row> rows;
  const auto add = [&](int sequence, const std::vector<std::int32_t>& ids) {
    for (const std::int32_t id : ids) {
      Row row;
      row.sequence = sequence;
      row.token = id;
      rows.push_back(row);
    }
    rows.back().logits = true;
  };
  add(1, b);
  add(0, a);
  add(2, c);
  Batch batch;
  batch.sequences = sequences;
  batch.rows = rows;
  const Outputs out = decoder_.forward(batch);
  ASSERT_EQ(out.logits.rows, 3);
  EXPECT_TRUE(same_bits(copy(out.logits.row(1)), expected));
}

TEST_P(SequenceState, BadRowsChangeNothing) {
  Sequence sequence;
  decoder_.feed(sequence, some_ids(4, 1));
  const std::int32_t outside = static_cast<std::int32_t>(model_->config.vocab_size);
  EXPECT_THROW(decoder_.feed(sequence, {&outside, 1}), Error);
  EXPECT_THROW(decoder_.feed(sequence, std::vector<std::int32_t>(model_->config.context_length, 5), 0), Error);
  EXPECT_EQ(sequence.length(), 4);
}

INSTANTIATE_TEST_SUITE_P(Models, SequenceState,
                         testing::Values("llama", "olmoe", "deepseek_v3", "lfm2_moe", "longcat_flash"));

class MoeBatch : public testing::Test {
 protected:
  MoeBatch() : pool_(2), model_(load_model(kRoot + "olmoe")), decoder_(model_, pool_) {}
  std::vector<float> run(const RoutingPolicy& policy, const Hooks* hooks = nullptr) {
    Sequence sequence;
    sequence.policy = policy;
    return copy(decoder_.feed(sequence, some_ids(12, 1), 0, hooks));
  }
  ThreadPool pool_;
  std::shared_ptr<Model> model_;
  Decoder decoder_;
};

TEST_F(MoeBatch, OneSequenceUnderTwoPoliciesInOneBatch) {
  const RoutingPolicy all, one = parse_routing_policy("top_k=1", "test");
  const std::vector<float> with_all = run(all), with_one = run(one);
  EXPECT_FALSE(same_bits(with_all, with_one));
  Sequence a, b;
  b.policy = one;
  Sequence* const sequences[] = {&a, &b};
  std::vector<Row> rows;
  for (const int which : {0, 1}) {
    for (const std::int32_t id : some_ids(12, 1)) {
      Row row;
      row.sequence = which;
      row.token = id;
      rows.push_back(row);
    }
    rows.back().logits = true;
  }
  Batch batch;
  batch.sequences = sequences;
  batch.rows = rows;
  const Outputs out = decoder_.forward(batch);
  EXPECT_TRUE(same_bits(copy(out.logits.row(0)), with_all));
  EXPECT_TRUE(same_bits(copy(out.logits.row(1)), with_one));
}

TEST_F(MoeBatch, APolicyThatNamesWhatIsNotThereIsRefused) {
  EXPECT_THROW(run(parse_routing_policy("top_k=99", "test")), Error);
  EXPECT_THROW(run(parse_routing_policy("7:top_k=1", "test")), Error);
  EXPECT_THROW(run(parse_routing_policy("mask=!77", "test")), Error);
}

TEST_F(MoeBatch, ObservingChangesNoBitAndSeesEveryPoint) {
  Hooks hooks;
  hooks.observe_points = ~0u;
  std::vector<int> seen(10);
  hooks.observe = [&](const Observation& o) { ++seen[static_cast<int>(o.point)]; };
  EXPECT_TRUE(same_bits(run({}), run({}, &hooks)));
  for (std::size_t point = 0; point < seen.size(); ++point) EXPECT_GE(seen[point], 3) << point;
}

TEST_F(MoeBatch, EditedRouterLogitsChooseOtherExperts) {
  Hooks hooks;
  hooks.edit_points = mask_of(Point::kRouterLogits);
  hooks.edit = [](Point, int, MatrixView<float> logits) {
    for (std::int64_t r = 0; r < logits.rows; ++r) logits.at(r, 5) = 1000.0f;
  };
  hooks.observe_points = mask_of(Point::kPlan);
  int with_five = 0, units = 0;
  hooks.observe = [&](const Observation& o) {
    for (std::int64_t u = 0; u < o.plan->units(); ++u, ++units) with_five += o.plan->experts_of(u)[0] == 5;
  };
  EXPECT_FALSE(same_bits(run({}), run({}, &hooks)));
  EXPECT_EQ(with_five, units);
}

TEST_F(MoeBatch, EditedHiddenStateReachesTheLogits) {
  Hooks hooks;
  hooks.edit_points = mask_of(Point::kBlockOutput);
  hooks.edit = [](Point, int block, MatrixView<float> hidden) {
    if (block == 1) hidden.at(hidden.rows - 1, 0) += 1.0f;
  };
  EXPECT_FALSE(same_bits(run({}), run({}, &hooks)));
}

TEST_F(MoeBatch, AReplacedExpertActsFromTheNextCallOn) {
  const std::vector<float> before = run({});
  const auto table = model_->experts->snapshot();
  const ExpertWeights original = *table->layers[0].experts[3], other = *table->layers[0].experts[4];
  for (int e = 0; e < 16; ++e) model_->experts->replace(0, e, other, "test");
  EXPECT_FALSE(same_bits(before, run({})));
  for (int e = 0; e < 16; ++e) model_->experts->replace(0, e, *table->layers[0].experts[e], "test");
  EXPECT_TRUE(same_bits(before, run({})));
  EXPECT_EQ(original.width(), 32);
}

TEST_F(MoeBatch, EmbeddingRowsEqualTheirTokens) {
  const std::vector<std::int32_t> ids = some_ids(6, 1);
  std::vector<std::vector<float>> embeddings(ids.size(), std::vector<float>(64));
  std::vector<Row> rows(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    decode_row(model_->token_embedding, ids[i], embeddings[i]);
    rows[i].embedding = embeddings[i];
  }
  rows.back().logits = true;
  Sequence from_rows, from_tokens;
  Sequence* const sequences[] = {&from_rows};
  Batch batch;
  batch.sequences = sequences;
  batch.rows = rows;
  const std::vector<float> a = copy(decoder_.forward(batch).logits.row(0));
  EXPECT_TRUE(same_bits(a, copy(decoder_.feed(from_tokens, ids))));
  EXPECT_EQ(from_rows.tokens[0], kNoToken);
}

TEST_F(MoeBatch, WholeCallMaskLetsEarlierRowsSeeLaterOnes) {
  const auto hidden_of_first = [&](std::int32_t last, AttentionMask mask) {
    std::vector<Row> rows(3);
    for (int i = 0; i < 3; ++i) rows[i].token = i < 2 ? 10 + i : last, rows[i].mask = mask;
    Sequence sequence;
    Sequence* const sequences[] = {&sequence};
    const int block = 2;
    Batch batch;
    batch.sequences = sequences;
    batch.rows = rows;
    batch.hidden_blocks = {&block, 1};
    return copy(decoder_.forward(batch).hidden[0].row(0));
  };
  EXPECT_TRUE(same_bits(hidden_of_first(50, AttentionMask::kCausal), hidden_of_first(60, AttentionMask::kCausal)));
  EXPECT_FALSE(
      same_bits(hidden_of_first(50, AttentionMask::kWholeCall), hidden_of_first(60, AttentionMask::kWholeCall)));
}

TEST_F(MoeBatch, AnOverlayChangesItsLinearOnly) {
  const std::vector<float> before = run({});
  LowRank update;
  update.rank = 1;
  update.a.assign(64, 0.1f);
  update.b_transposed.assign(64, 0.1f);
  auto& attention = std::get<AttentionWeights>(model_->blocks[1].mixer);
  attention.output.overlays = std::make_shared<const Overlays>(Overlays{update});
  EXPECT_FALSE(same_bits(before, run({})));
  attention.output.overlays = nullptr;
  EXPECT_TRUE(same_bits(before, run({})));
}

TEST_F(MoeBatch, CountersSayWhatWasExecuted) {
  decoder_.reset_counters();
  run({});
  EXPECT_EQ(decoder_.counters().rows, 12);
  constexpr int kRouted = 12 * 2 + 1;  // rows of the first layers, and the one whose logits are wanted in the last
  EXPECT_EQ(decoder_.counters().routed_slots, kRouted * 4);
  EXPECT_EQ(decoder_.counters().possible_slots, kRouted * 16);
  EXPECT_GT(decoder_.counters().bytes_read, 0);
  decoder_.reset_counters();
  run(parse_routing_policy("top_k=1", "test"));
  EXPECT_EQ(decoder_.counters().routed_slots, kRouted);
}

}  // namespace
}  // namespace junto
