#include "cli/tokenize.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"

namespace junto {
namespace {

const std::string kModel = JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/llama";

std::string run(TokenizeOptions options, const std::string& input) {
  options.path = kModel;
  std::istringstream in(input);
  std::ostringstream out;
  EXPECT_EQ(run_tokenize(options, in, out), 0);
  return out.str();
}

TEST(TokenizeVerb, OneTextToIdsAndBack) {
  const std::string ids = run({}, "Hello\nworld<|im_end|>");
  EXPECT_TRUE(ids.starts_with('[')) << ids;
  EXPECT_TRUE(ids.ends_with(",383]\n")) << ids;
  EXPECT_EQ(run({.decode = true}, ids), "Hello\nworld<|im_end|>");
}

TEST(TokenizeVerb, JsonLinesToJsonLines) {
  const std::string lines = "\"a\\nb\"\n\"\"\n\"\u00e9\"\n";
  const std::string ids = run({.jsonl = true}, lines);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), '\n'), 3);
  EXPECT_EQ(run({.decode = true, .jsonl = true}, ids), lines);
}

TEST(TokenizeVerb, ABadLineIsNamedAndTheOnesBeforeItAreAnswered) {
  const auto error_of = [](TokenizeOptions options, const std::string& input, std::size_t answered) {
    options.path = kModel;
    options.jsonl = true;
    std::istringstream in(input);
    std::ostringstream out;
    try {
      run_tokenize(options, in, out);
    } catch (const Error& error) {
      const std::string text = out.str();
      EXPECT_EQ(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')), answered);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(error_of({}, "\"a\"\n[1]\n", 1), "standard input: line 2 is [1], expected a JSON string");
  EXPECT_TRUE(error_of({}, "\"a\"\n\"b\"\n\"c\n", 2).starts_with("standard input: line 3 not valid JSON"));
  EXPECT_EQ(error_of({.decode = true}, "[1,-1]\n", 0),
            "standard input: line 1 is an array with -1, expected an array of token ids");
  EXPECT_EQ(error_of({.decode = true}, "[4294967296]", 0),
            "standard input: line 1 is an array with 4294967296, expected an array of token ids");
}

TEST(TokenizeVerb, AModelAddsWhatItsConfigurationSaysAndABareFileDoesNot) {
  const std::filesystem::path directory = std::filesystem::path(testing::TempDir()) / "tokenize_verb";
  std::filesystem::create_directories(directory);
  const auto write = [&](const char* name, const char* text) { std::ofstream(directory / name) << text; };
  write("tokenizer.json", R"({"model":{"type":"WordLevel","vocab":{"<s>":0,"a":1},"unk_token":"<s>"}})");
  write("tokenizer_config.json", R"({"bos_token":"<s>","add_bos_token":true})");
  EXPECT_EQ(open_tokenizer(directory.string()).encode("a", true), (std::vector<std::int32_t>{0, 1}));
  const std::string file = (directory / "tokenizer.json").string();
  EXPECT_EQ(open_tokenizer(file).encode("a", true), (std::vector<std::int32_t>{1}));
}

TEST(TokenizeVerb, AFileWithoutATokenizerIsAnError) {
  EXPECT_THROW(open_tokenizer("/nowhere/tokenizer.json"), Error);
  EXPECT_THROW(open_tokenizer(JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/llama/config.json"), Error);
}

}  // namespace
}  // namespace junto
