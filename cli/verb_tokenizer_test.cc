// `junto tokenizer train` as users run it.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

TEST(TokenizerVerb, TrainsAFileThatTokenizeReads) {
  const Scratch scratch;
  const std::string text = scratch.put("text", "the cat and the hat and the end of the hat, the hat\n");
  const std::string out = scratch.path("tokenizer.json");
  const Ran ran = run_junto(
      {"tokenizer", "train", "--files", text, "--files", text, "--vocabulary", "270", "--out", out, "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(Json::parse(ran.out)["vocabulary"], 270);
  EXPECT_EQ(Json::parse(ran.out)["merges"], 13);
  EXPECT_EQ(run_junto({"tokenize", out}, " the hat").out.substr(0, 1), "[");
  const Json ids = Json::parse(run_junto({"tokenize", out, "--special"}, " the hat").out);
  EXPECT_EQ(ids.size(), 3u) << ids;  // <|endoftext|>, " the", " hat"
  EXPECT_EQ(run_junto({"tokenize", out, "--decode"}, ids.dump()).out, "<|endoftext|> the hat");
  const Ran again =
      run_junto({"tokenizer", "train", "--files", text, "--vocabulary", "4000", "--out", scratch.path("b")});
  EXPECT_NE(again.err.find("the vocabulary is smaller than asked"), std::string::npos) << again.err;
}

TEST(TokenizerVerb, SaysWhatIsMissingAndLeavesNoFile) {
  const Scratch scratch;
  const std::string out = scratch.path("tokenizer.json");
  EXPECT_EQ(refusal_of({"tokenizer", "train", "--out", out}),
            "junto tokenizer train needs --files FILE; see junto tokenizer --help");
  EXPECT_NE(refusal_of({"tokenizer", "train", "--files", scratch.path("none"), "--out", out}).find("none: "),
            std::string::npos);
  EXPECT_EQ(refusal_of({"tokenizer", "train", "--files", scratch.put("a", "a"), "--vocabulary", "256", "--out", out}),
            "tokenizer: vocabulary is 256, expected at least 257 (256 bytes and special tokens)");
  EXPECT_NE(refusal_of({"tokenizer", "trian", "--out", out}).find("expected train"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace junto
