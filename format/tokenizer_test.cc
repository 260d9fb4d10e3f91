// Tokenizers against what the implementations that they come from compute (testdata/oracles/README.md).
#include "format/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "format/gguf.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream out;
  out << file.rdbuf();
  return file ? out.str() : "";
}

fs::path cache_dir() {
  if (const char* cache = std::getenv("JUNTO_CACHE")) return cache;
  if (const char* cache = std::getenv("XDG_CACHE_HOME")) return fs::path(cache) / "junto";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr ? home : "/root") / ".cache" / "junto";
}

fs::path oracles() {
  return fs::path(JUNTO_SOURCE_DIR) / "testdata" / "oracles";
}

class PublishedTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(PublishedTokenizer, GivesTheIdsAndTextsOfTheOracle) {
  const Json oracle = Json::parse(read_text(oracles() / "tokenizers" / (std::string(GetParam()) + ".json")));
  const fs::path file = cache_dir() / "tokenizers" / GetParam() / oracle["file"].get<std::string>();
  ASSERT_TRUE(fs::exists(file)) << file << " is missing: run scripts/fetch-tokenizers";
  const Tokenizer tokenizer = load_tokenizer_json(read_text(file), file.string());
  ASSERT_GE(oracle["cases"].size(), 100u);
  for (const Json& one : oracle["cases"]) {
    const std::string text = one["text"];
    const auto ids = one["ids"].get<std::vector<std::int32_t>>();
    EXPECT_EQ(tokenizer.encode(text, false), ids) << text;
    EXPECT_EQ(tokenizer.encode(text, true), one["ids_special"].get<std::vector<std::int32_t>>()) << text;
    EXPECT_EQ(tokenizer.decode(ids, false), one["decoded"].get<std::string>()) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, PublishedTokenizer, testing::Values("llama3", "qwen2_5", "gemma2"));

TEST(PublishedTokenizers, EveryOracleIsTested) {
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(oracles() / "tokenizers")) files += entry.is_regular_file();
  EXPECT_EQ(files, 3u) << "name new oracles in INSTANTIATE_TEST_SUITE_P";
}

TEST(Tokenizer, LoadsThatOfEveryCheckpoint) {
  int loaded = 0;
  for (const auto& entry : fs::directory_iterator(oracles() / "checkpoints")) {
    const Json config = Json::parse(read_text(entry.path() / "tokenizer_config.json"));
    const auto tokenizer =
        load_tokenizer_json(read_text(entry.path() / "tokenizer.json"), entry.path().string(), config);
    EXPECT_EQ(tokenizer.vocab_size(), 384);
    EXPECT_EQ(tokenizer.bos_id(), 1);
    EXPECT_EQ(tokenizer.eos_id(), 2);
    EXPECT_FALSE(tokenizer.add_bos());
    EXPECT_EQ(tokenizer.end_of_generation(), (std::vector<std::int32_t>{2, 383}));
    const std::string text = "<|im_start|>The quick brown fox, naïvely.\n";
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, true), false), text);
    ++loaded;
  }
  EXPECT_EQ(loaded, 27);
}

TEST(GgufTokenizer, SmolLm2GivesTheIdsOfTheOracle) {
  const Json oracle = Json::parse(read_text(oracles() / "smollm2.json"));
  const fs::path file = cache_dir() / oracle["file"].get<std::string>();
  ASSERT_TRUE(fs::exists(file)) << file << " is missing: run junto fetch smollm2";
  const Tokenizer tokenizer = load_tokenizer_gguf(open_gguf(file.string()).metadata);
  EXPECT_EQ(tokenizer.vocab_size(), 49152);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_FALSE(tokenizer.add_bos());
  EXPECT_TRUE(tokenizer.is_end_of_generation(2));
  for (const Json& one : oracle["completions"]) {
    EXPECT_EQ(tokenizer.encode(one["prompt"].get<std::string>(), true), one["ids"].get<std::vector<std::int32_t>>());
  }
  const Json& chat = oracle["chat"];
  EXPECT_EQ(tokenizer.encode(chat["rendered"].get<std::string>(), true), chat["ids"].get<std::vector<std::int32_t>>());
  for (const Json& one : oracle["perplexity"]) {
    const std::string text = read_text(oracles() / "text" / one["text"].get<std::string>());
    EXPECT_EQ(tokenizer.encode(text, true).size(), one["tokens"].get<std::size_t>());
  }
}

}  // namespace
}  // namespace junto
