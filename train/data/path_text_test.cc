#include "train/data/path_text.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "analyze/generate_trace.h"
#include "analyze/route_trace.h"
#include "base/error.h"
#include "format/test_directory.h"

namespace junto {
namespace {

/// Sequences of 8 tokens, ids from `first` on, of two stages of 5 experts, two a token.
RouteTrace small_trace(std::int64_t tokens, std::int32_t first, int experts = 5) {
  RouteTrace trace = generate_trace(make_trace_shape(2, experts, 2, 0), {}, tokens, 3);
  trace.sequence_begin.clear();
  for (std::int64_t t = 0; t < tokens; ++t) {
    trace.token[static_cast<std::size_t>(t)] = first + static_cast<std::int32_t>(t % 200);
    if (t % 8 == 0) trace.sequence_begin.push_back(t);
  }
  return trace;
}

class PathTextTest : public testing::Test {
 protected:
  std::string put(const std::string& name, const RouteTrace& trace) {
    write_trace(trace, directory_.path(name));
    return directory_.path(name);
  }
  TokenText text_of(std::vector<TextSource> files) {
    return read_token_text({.files = std::move(files),
                            .separator = {},
                            .validation_share = 0.4f,
                            .tokenizer = JUNTO_SOURCE_DIR "/models/junto-mini.gguf"},
                           16);
  }
  const TestDirectory directory_;
};

TEST_F(PathTextTest, TokensKeepWhatTheyAskedFor) {
  const RouteTrace trace = small_trace(8 * 4 * 20, 10);
  const TokenText text = text_of({put("a.trace", trace)});
  EXPECT_EQ(text.vocabulary, 4096);
  EXPECT_EQ(text.train_paths.experts, (std::vector<int>{5, 5}));
  EXPECT_EQ(text.train.size() + text.validation.size(), trace.token.size());
  EXPECT_EQ(text.train_documents + text.validation_documents, 20);
  EXPECT_EQ(text.train_paths.asked.size(), text.train.size() * 10);
  EXPECT_EQ(std::ranges::count(text.train_paths.asked, 1), std::ssize(text.train) * 4);
  ASSERT_GT(text.validation_begins.size(), 2u);
  TokenIds tune, test;
  PathLabels tune_paths, test_paths;
  split_path_documents(text, false, tune, tune_paths);
  split_path_documents(text, true, test, test_paths);
  EXPECT_EQ(tune.size() + test.size(), text.validation.size());
  EXPECT_EQ(tune_paths.asked.size(), tune.size() * 10);
  EXPECT_TRUE(std::equal(tune.begin(), tune.begin() + 32, text.validation.begin()));
  EXPECT_TRUE(std::equal(test.begin(), test.begin() + 32, text.validation.begin() + 32));
  // Wherever a batch comes from, a token's labels are those of its trace.
  const TokenBatch batch = draw_batch(text.train, 3, 16, 1, 5, text.train_paths);
  EXPECT_EQ(batch.paths.sizes(), (std::vector<std::int64_t>{3, 16, 10}));
  const TokenBatch last = batch.part(2, 1);
  const auto begin = std::search(text.train.begin(), text.train.end(), last.inputs.data_ptr<std::int64_t>(),
                                 last.inputs.data_ptr<std::int64_t>() + 16) -
                     text.train.begin();
  bool same = false;  // tokens repeat themselves: one of their places
  for (std::int64_t at = begin; at + 16 <= std::ssize(text.train) && !same; at += 1) {
    same = std::equal(text.train_paths.asked.begin() + at * 10, text.train_paths.asked.begin() + (at + 16) * 10,
                      last.paths.contiguous().data_ptr<std::uint8_t>());
  }
  EXPECT_TRUE(same);
}

TEST_F(PathTextTest, MistakesNameTheFile) {
  const std::string good = put("a.trace", small_trace(320, 10)), other = put("b.trace", small_trace(320, 10, 6));
  const auto refusal = [&](std::vector<TextSource> files) { return error_of([&] { text_of(std::move(files)); }); };
  EXPECT_NE(refusal({good, other}).find("b.trace: has routers of [6,6] experts"), std::string::npos);
  EXPECT_NE(refusal({put("c.trace", small_trace(320, 4000))}).find("c.trace: has token 4096"), std::string::npos);
  EXPECT_NE(refusal({directory_.put("d.trace", "no trace")}).find("d.trace"), std::string::npos);
  const auto parse = [](const char* text) { return parse_token_text(Json::parse(text), "r"); };
  EXPECT_THROW(parse(R"({"files": ["a.trace", "b.txt"], "tokenizer": "t"})"), Error);
  EXPECT_THROW(parse(R"({"files": ["a.trace"]})"), Error);
}

}  // namespace
}  // namespace junto
