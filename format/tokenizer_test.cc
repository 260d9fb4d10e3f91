// Tokenizers against what the implementations that they come from compute (testdata/oracles/README.md).
#include "format/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "format/gguf.h"
#include "format/metadata.h"
#include "format/tokenizer/named_patterns.h"

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

TEST_P(PublishedTokenizer, GivesTheSameIdsAsGguf) {
  const Json oracle = Json::parse(read_text(oracles() / "tokenizers" / (std::string(GetParam()) + ".json")));
  const fs::path file = cache_dir() / "tokenizers" / GetParam() / oracle["file"].get<std::string>();
  ASSERT_TRUE(fs::exists(file)) << file << " is missing: run scripts/fetch-tokenizers";
  const std::string json = read_text(file);
  const Tokenizer tokenizer = load_tokenizer_json(json, file.string());
  const std::int64_t rows = tokenizer.vocab_size() + 100;
  Metadata metadata("converted.gguf");
  store_tokenizer(gguf_tokenizer_data(tokenizer, rows, json), metadata);
  EXPECT_FALSE(metadata.contains("tokenizer.huggingface.json"));
  const Tokenizer again = load_tokenizer_gguf(metadata);
  EXPECT_EQ(again.vocab_size(), rows);
  for (const Json& one : oracle["cases"]) {
    const std::string text = one["text"];
    const auto ids = one["ids"].get<std::vector<std::int32_t>>();
    EXPECT_EQ(again.encode(text, false), ids) << text;
    EXPECT_EQ(again.encode(text, true), one["ids_special"].get<std::vector<std::int32_t>>()) << text;
    EXPECT_EQ(again.decode(ids, false), one["decoded"].get<std::string>()) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, PublishedTokenizer, testing::Values("llama3", "qwen2_5", "gemma2"));

TEST(PublishedTokenizers, EveryOracleIsTested) {
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(oracles() / "tokenizers")) files += entry.is_regular_file();
  EXPECT_EQ(files, 3u) << "name new oracles in INSTANTIATE_TEST_SUITE_P";
}

TEST(Tokenizer, ModelsOfEveryKindGiveTheRecordedIdsAndTexts) {
  const Json models = Json::parse(read_text(fs::path(JUNTO_SOURCE_DIR) / "testdata" / "tokenizers" / "models.json"));
  ASSERT_EQ(models.size(), 11u);
  for (const Json& model : models) {
    const std::string name = model["name"];
    const Tokenizer tokenizer = load_tokenizer_json(model["tokenizer"].dump(), name);
    for (const Json& one : model["cases"]) {
      const std::string text = one["text"];
      const auto ids = one["ids"].get<std::vector<std::int32_t>>();
      const auto with_special = one["ids_special"].get<std::vector<std::int32_t>>();
      EXPECT_EQ(tokenizer.encode(text, false), ids) << name << ": " << text;
      EXPECT_EQ(tokenizer.encode(text, true), with_special) << name << ": " << text;
      EXPECT_EQ(tokenizer.decode(ids, false), one["decoded"].get<std::string>()) << name << ": " << text;
      EXPECT_EQ(tokenizer.decode(with_special, true), one["decoded_skip"].get<std::string>()) << name << ": " << text;
    }
  }
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

// A small byte-level tokenizer: every byte, some merges, added tokens.
Json byte_level_json() {
  Json vocab = Json::object();
  Json json = {{"version", "1.0"},
               {"added_tokens",
                {{{"id", 300}, {"content", "<|end|>"}, {"special", true}, {"normalized", false}},
                 {{"id", 301}, {"content", "<tool>"}, {"special", false}, {"normalized", false}}}},
               {"normalizer", nullptr},
               {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
               {"decoder", {{"type", "ByteLevel"}}}};
  const std::string spelled =
      "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
  int id = 0;
  for (const char c : spelled) vocab[std::string(1, c)] = id++;
  for (unsigned c = 0xA1; c <= 0x143; ++c) {
    if (c == 0xAD) continue;
    const char utf8[] = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F)), 0};
    vocab[utf8] = id++;
  }
  for (const char* token : {"aa", "aaaa", "aaaaaaaa", "Ġa"}) vocab[token] = id++;
  json["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a a", "aa aa", "aaaa aaaa", "Ġ a"}}};
  return json;
}

TEST(Tokenizer, LongWordsTakeNearlyLinearTime) {
  const Tokenizer tokenizer = load_tokenizer_json(byte_level_json().dump(), "t");
  const auto ids = tokenizer.encode(std::string(1 << 20, 'a'), false);
  EXPECT_EQ(ids.size(), (std::size_t{1} << 20) / 8);
  EXPECT_EQ(tokenizer.decode(ids, false).size(), std::size_t{1} << 20);
  EXPECT_EQ(tokenizer.encode(std::string(1 << 20, ' '), false).size(), std::size_t{1} << 20);
}

TEST(Tokenizer, BytesThatAreNotUtf8AreReplacementCharacters) {
  const Tokenizer tokenizer = load_tokenizer_json(byte_level_json().dump(), "t");
  EXPECT_EQ(tokenizer.encode("a\xFF\xC3(", false), tokenizer.encode("a\uFFFD\uFFFD(", false));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("\xE2\x82", false), false), "\uFFFD");
}

TEST(Tokenizer, PlainTextNeverGivesControlTokens) {
  const Tokenizer tokenizer = load_tokenizer_json(byte_level_json().dump(), "t");
  EXPECT_EQ(tokenizer.encode("a<|end|><tool>", false).size(), 3u);
  const auto plain = tokenizer.encode_plain("a<|end|><tool>");
  EXPECT_EQ(plain.size(), 1u + 7u + 1u);  // the tool token is no control token
  EXPECT_EQ(tokenizer.decode(plain, true), "a<|end|><tool>");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a<|end|>b", false), true), "ab");
}

TEST(Tokenizer, PlainTextNeverMergesToControlTokens) {
  Json json = byte_level_json();
  json["model"]["vocab"]["|>"] = 280;
  json["model"]["vocab"]["d|>"] = 281;
  json["model"]["merges"].push_back("| >");
  json["model"]["merges"].push_back("d |>");
  json["added_tokens"].push_back({{"id", 281}, {"content", "d|>"}, {"special", true}, {"normalized", false}});
  for (const bool ignore_merges : {false, true}) {
    json["model"]["ignore_merges"] = ignore_merges;
    json["pre_tokenizer"]["use_regex"] = false;
    const Tokenizer tokenizer = load_tokenizer_json(json.dump(), "t");
    EXPECT_EQ(tokenizer.encode("d|>", false), std::vector<std::int32_t>{281});
    const auto plain = tokenizer.encode_plain("d|>");
    EXPECT_EQ(plain, (std::vector<std::int32_t>{tokenizer.id_of("d").value(), 280}));
  }
}

TEST(Tokenizer, ControlTokensOfMarkedPiecesEndAsCharactersWithoutToken) {
  for (const char* mark : {"end_of_word_suffix", "continuing_subword_prefix"}) {
    Json json = byte_level_json();
    json["model"]["merges"] = Json::array();
    json["model"]["vocab"].erase("~");  // a vocabulary of all bytes has no marks
    json["model"][mark] = "</w>";
    int id = 400;
    for (const char* token : {"a</w>", "b</w>", "</w>b", "</w></w>", "></w>"}) {
      json["model"]["vocab"][token] = id;
      json["added_tokens"].push_back({{"id", id++}, {"content", token}, {"special", true}, {"normalized", false}});
    }
    const Tokenizer tokenizer = load_tokenizer_json(json.dump(), "t");
    const auto plain = tokenizer.encode_plain("ab");
    EXPECT_LT(plain.size(), 64u) << mark;
    EXPECT_TRUE(std::none_of(plain.begin(), plain.end(), [&](auto token) { return tokenizer.is_special(token); }));
  }
}

TEST(Tokenizer, BytesOfTokensJoinToTheText) {
  const Json models = Json::parse(read_text(fs::path(JUNTO_SOURCE_DIR) / "testdata" / "tokenizers" / "models.json"));
  const auto joined = [](const Tokenizer& tokenizer, const std::string& text) {
    std::string bytes;
    for (const auto id : tokenizer.encode(text, false)) bytes += tokenizer.token_bytes(id);
    return bytes;
  };
  const std::string text = "naïve 日本 🙂 x";
  EXPECT_EQ(joined(load_tokenizer_json(byte_level_json().dump(), "t"), text), text);
  // SentencePiece puts a space before the text, which only a whole text loses again.
  EXPECT_EQ(joined(load_tokenizer_json(models[4]["tokenizer"].dump(), "spm"), text), " " + text);
  const Tokenizer bytes = load_tokenizer_json(byte_level_json().dump(), "t");
  EXPECT_EQ(bytes.token_bytes(bytes.encode("é", false).front()), "\xC3");
  EXPECT_EQ(bytes.token_bytes(300), "<|end|>");
  EXPECT_EQ(bytes.token_bytes(-1), "");
  EXPECT_EQ(bytes.token_bytes(299), "");
}

std::string load_error(const Json& json) {
  try {
    load_tokenizer_json(json.dump(), "t.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Tokenizer, DamagedFilesAreOneLineErrors) {
  const auto changed = [](const char* pointer, Json value) {
    Json json = byte_level_json();
    json[Json::json_pointer(pointer)] = std::move(value);
    return load_error(json);
  };
  EXPECT_EQ(changed("/model/type", "Magic"),
            "t.json: model.type is \"Magic\", expected BPE, Unigram, WordPiece or WordLevel");
  EXPECT_EQ(changed("/model/vocab/zz", -1), "t.json: model.vocab[\"zz\"] is -1, expected an id");
  EXPECT_EQ(changed("/model/vocab/zz", 2'000'000'000),
            "t.json: vocabulary has the id 2000000000, expected less than 262405 for 261 tokens");
  EXPECT_EQ(changed("/model/merges/0", "aa"),
            "t.json: model.merges[0] is \"aa\", expected two tokens with a space between them");
  EXPECT_EQ(changed("/model/merges/0", "a é?"), "t.json: merge 0 is of \"é?\", expected a token of the vocabulary");
  EXPECT_EQ(changed("/model/dropout", 0.1), "t.json: model.dropout is 0.1, expected null: it is for training");
  EXPECT_EQ(changed("/added_tokens/0/id", "x"),
            "t.json: added_tokens[0].id is \"x\", expected an integer 0..2147483646");
  EXPECT_EQ(changed("/post_processor", {{"type", "Later"}}),
            "t.json: post_processor.type is \"Later\", expected a post-processor that Junto has");
  const Json adder = {{"type", "BertProcessing"}, {"sep", {"a", 1}}, {"cls", {"a", 1}}};
  EXPECT_EQ(changed("/post_processor", {{"type", "Sequence"}, {"processors", {adder, adder}}}),
            "t.json: post_processor.processors[1] is an object, expected one post-processor that adds tokens");
  EXPECT_EQ(load_error(Json::array()), "t.json: the file is an array, expected an object");
}

TEST(Tokenizer, PatternsThatNeverEndAreErrors) {
  Json json = byte_level_json();
  json["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(?:a|aa)+$"}}}, {"behavior", "Isolated"}, {"invert", false}};
  const Tokenizer tokenizer = load_tokenizer_json(json.dump(), "t.json");
  EXPECT_THROW(tokenizer.encode(std::string(5000, 'a') + "!", false), Error);
  json["pre_tokenizer"]["pattern"]["Regex"] = "(a";
  EXPECT_EQ(load_error(json), "t.json: pattern (a: missing closing parenthesis");
  json["pre_tokenizer"]["pattern"]["Regex"] = "\\yx";
  EXPECT_EQ(load_error(json), "t.json: pattern \\yx: unknown escape \\y");
}

GgufTokenizerData tiny_gguf() {
  GgufTokenizerData data;
  data.model = "llama";
  data.tokens = {"<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", "\u2581", "a", "b", "ab", "\u2581a"};
  data.types = {2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1};
  data.scores = {0, 0, 0, 0, 0, 0, -4, -3, -3, -1, -2};
  return data;
}

TEST(GgufTokenizer, SentencePieceJoinsByScoreAndFallsBackToBytes) {
  const Tokenizer tokenizer = load_tokenizer_gguf(tiny_gguf(), "t.gguf");
  EXPECT_EQ(tokenizer.encode("ab", true), (std::vector<std::int32_t>{1, 6, 9}));  // "ab" before "▁a"
  EXPECT_EQ(tokenizer.encode("a\né", false), (std::vector<std::int32_t>{10, 3, 4, 5}));
  EXPECT_EQ(tokenizer.encode("a</s>a", false), (std::vector<std::int32_t>{10, 2, 10}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a\né", false), false), "a\né");
  EXPECT_EQ(tokenizer.encode_plain("</s>").size(), 5u);  // "▁" and four characters that have no token
}

TEST(GgufTokenizer, UnknownModelsAndPreTokenizersAreRefusedByName) {
  const auto error_of = [](const GgufTokenizerData& data) {
    try {
      load_tokenizer_gguf(data, "t.gguf");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  GgufTokenizerData data = tiny_gguf();
  data.model = "rwkv";
  EXPECT_EQ(error_of(data), "t.gguf: tokenizer.ggml.model is \"rwkv\", expected gpt2, llama, t5 or gemma4");
  data.model = "gpt2";
  data.pre = "qwen9";
  EXPECT_EQ(
      error_of(data),
      "t.gguf: tokenizer.ggml.pre is \"qwen9\", expected a pre-tokenizer that Junto has (did you mean \"qwen2\"?)");
  data = tiny_gguf();
  data.scores.pop_back();
  EXPECT_EQ(error_of(data), "t.gguf: tokenizer.ggml.scores has 10 entries, expected 11");
  data = tiny_gguf();
  data.eos_id = 11;
  EXPECT_EQ(error_of(data), "t.gguf: tokenizer.ggml.eos_token_id is 11, expected 0..10");
}

TEST(GgufTokenizer, Gemma4NamesItsModelInsteadOfItsPreTokenizer) {
  GgufTokenizerData data = tiny_gguf();
  data.model = "gemma4";
  data.pre = "";
  data.merges = {"a b", "\u2581 a"};
  const Tokenizer tokenizer = load_tokenizer_gguf(data, "t.gguf");
  EXPECT_EQ(tokenizer.encode("a ab\n\u00e9", false), (std::vector<std::int32_t>{7, 6, 9, 3, 4, 5}));
}

TEST(GgufTokenizer, EveryNamedPreTokenizerCompiles) {
  std::size_t names = 0;
  for (const auto& one : text::named_pre_tokenizers()) {
    for (const auto name : one.names) {
      GgufTokenizerData data = tiny_gguf();
      data.model = "gpt2";
      data.pre = name;
      data.merges = {"a b"};
      EXPECT_EQ(load_tokenizer_gguf(data, "t.gguf").encode("ab", false), std::vector<std::int32_t>{9}) << name;
      ++names;
    }
  }
  EXPECT_GE(names, 80u);
}

TEST(GgufTokenizer, WhatNoNameSaysTravelsAsJson) {
  const Json models = Json::parse(read_text(fs::path(JUNTO_SOURCE_DIR) / "testdata" / "tokenizers" / "models.json"));
  const std::string json = models[0]["tokenizer"].dump();  // unigram
  const Tokenizer tokenizer = load_tokenizer_json(json, "t.json");
  EXPECT_THROW(gguf_tokenizer_data(tokenizer, 0, ""), Error);
  Metadata metadata("t.gguf");
  store_tokenizer(gguf_tokenizer_data(tokenizer, 500, json), metadata);
  const Tokenizer again = load_tokenizer_gguf(metadata);
  EXPECT_EQ(again.encode("The quick fox", true), tokenizer.encode("The quick fox", true));
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
