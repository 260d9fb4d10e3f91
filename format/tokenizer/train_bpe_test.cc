#include "format/tokenizer/train_bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "format/test_directory.h"
#include "format/tokenizer.h"

namespace junto::text {
namespace {

TrainedBpe trained(const std::vector<std::string>& texts, const BpeTraining& options) {
  PieceCounts pieces;
  for (const std::string& text : texts) pieces.add(text);
  return train_bpe(pieces, options);
}

TEST(TrainBpe, MergesThePairThatOccursMostFirst) {
  const TrainedBpe bpe = trained({"abab abab ba"}, {.vocabulary = 300, .special = {}});
  // "ab" occurs 4 times, "ba" 3 times and once when "ab" is merged, "ab"+"ab" twice; all other pairs once.
  ASSERT_EQ(bpe.merges.size(), 2u);
  EXPECT_EQ(bpe.merges[0], (std::pair<std::string, std::string>{"a", "b"}));
  EXPECT_EQ(bpe.merges[1], (std::pair<std::string, std::string>{"ab", "ab"}));
  EXPECT_EQ(bpe.tokens.back(), "abab");
}

// Recorded by scripts/record-bpe from `tokenizers`.
TEST(TrainBpe, TheMergesAreThoseOfTokenizers) {
  const std::string root = std::string(JUNTO_SOURCE_DIR) + "/";
  const Json recorded =
      parse_json(read_text_file(root + "testdata/tokenizers/trained_bpe.json", 1 << 20), "trained_bpe.json");
  std::vector<std::string> texts;
  for (const Json& file : recorded["files"]) texts.push_back(read_text_file(root + file.get<std::string>(), 1 << 20));
  const TrainedBpe bpe = trained(texts, {.vocabulary = recorded["vocabulary"].get<std::int64_t>()});
  std::vector<std::string> merges;
  for (const auto& [left, right] : bpe.merges) merges.push_back(left + " " + right);
  EXPECT_GT(merges.size(), 400u);
  EXPECT_EQ(merges, recorded["merges"].get<std::vector<std::string>>());
}

/// The definition: count all pairs anew for each merge.
std::vector<std::pair<std::string, std::string>> naive(const PieceCounts& pieces, std::size_t wanted) {
  const TrainedBpe bytes = train_bpe({}, {.vocabulary = 256, .special = {}});
  std::vector<std::string> tokens = bytes.tokens;
  std::vector<std::pair<std::vector<std::size_t>, std::int64_t>> words;
  for (const auto& [piece, count] : pieces.all()) {
    std::vector<std::size_t> symbols;
    for (const char c : piece) {
      symbols.push_back(
          static_cast<std::size_t>(std::find(tokens.begin(), tokens.end(), std::string(1, c)) - tokens.begin()));
    }
    words.emplace_back(symbols, count);
  }
  std::vector<std::pair<std::string, std::string>> merges;
  while (merges.size() < wanted) {
    std::map<std::pair<std::size_t, std::size_t>, std::int64_t> counts;
    for (const auto& [symbols, count] : words) {
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) counts[{symbols[i], symbols[i + 1]}] += count;
    }
    const auto best = std::max_element(counts.begin(), counts.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    if (best == counts.end() || best->second < 2) break;
    const auto [left, right] = best->first;
    merges.emplace_back(tokens[left], tokens[right]);
    tokens.push_back(tokens[left] + tokens[right]);
    for (auto& [symbols, count] : words) {
      std::vector<std::size_t> out;
      for (std::size_t i = 0; i < symbols.size(); ++i) {
        const bool both = i + 1 < symbols.size() && symbols[i] == left && symbols[i + 1] == right;
        out.push_back(both ? tokens.size() - 1 : symbols[i]);
        i += both ? 1 : 0;
      }
      symbols = out;
    }
  }
  return merges;
}

TEST(TrainBpe, CountsKeptWhileMergingAreThoseCountedAnew) {
  Random random(3);
  for (int round = 0; round < 20; ++round) {
    // Two letters and long runs: pairs overlap themselves, and their counts are often equal.
    std::string text;
    for (int word = 0; word < 120; ++word) {
      for (std::uint64_t letters = 1 + random.next() % 9; letters > 0; --letters)
        text += random.next() % 3 == 0 ? 'b' : 'a';
      text += '!';
    }
    PieceCounts pieces;
    pieces.add(text);
    EXPECT_EQ(train_bpe(pieces, {.vocabulary = 276, .special = {}}).merges, naive(pieces, 20)) << text;
  }
}

TEST(TrainBpe, ALongTextIsCutAsIfItWereShort) {
  std::string text;
  for (int i = 0; text.size() < (3u << 20); ++i)
    text += "word" + std::to_string(i % 1000) + (i % 7 == 0 ? " \n\n  " : " ");
  PieceCounts whole, parts;
  whole.add(text);
  // Cut by hand at the same kind of place, more often.
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find(' ', std::min(text.size(), begin + 1000));
    if (end == std::string::npos) end = text.size();
    while (end < text.size() && (text[end - 1] == ' ' || text[end - 1] == '\n')) ++end;
    if (end < text.size() && text[end] != ' ' && text[end] != '\n') {
      end = text.find(' ', end);
      if (end == std::string::npos) end = text.size();
    }
    parts.add(std::string_view(text).substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(whole.all(), parts.all());
}

TEST(TrainBpe, TheFileIsReadBackAndGivesEveryTextBack) {
  const TrainedBpe bpe = trained({"the cat and the hat, the end", "na\xC3\xAFve \xFF"}, {.vocabulary = 300});
  const Tokenizer tokenizer = load_tokenizer_json(tokenizer_json(bpe), "trained");
  EXPECT_EQ(tokenizer.id_of("<|endoftext|>"), 0);
  EXPECT_EQ(tokenizer.encode("the", true).front(), 0);
  EXPECT_EQ(tokenizer.encode(" the", false).size(), 1u);
  for (const std::string text : {"the hat", " \n\n x", "\xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x99\x82", "<|endoftext|>"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode_plain(text), false), text);
  }
  EXPECT_EQ(tokenizer.encode("<|endoftext|>", false), std::vector<std::int32_t>{0});
}

TEST(TrainBpe, WhatCannotBeIsRefused) {
  EXPECT_EQ(error_of([] { trained({"a"}, {.vocabulary = 256}); }),
            "tokenizer: vocabulary is 256, expected at least 257 (256 bytes and special tokens)");
  EXPECT_NE(error_of([] { trained({"a"}, {.special = {"<a>", "<a>"}}); }).find("given twice"), std::string::npos);
  EXPECT_EQ(trained({}, {.vocabulary = 400}).tokens.size(), 256u);  // nothing to merge
}

}  // namespace
}  // namespace junto::text
