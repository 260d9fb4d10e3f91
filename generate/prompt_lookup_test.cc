#include "generate/prompt_lookup.h"

#include <gtest/gtest.h>

#include <vector>

#include "model/sequence.h"

namespace junto {
namespace {

using Ids = std::vector<std::int32_t>;

struct Guess {
  int found;
  Ids ids;
  bool operator==(const Guess&) const = default;
};

Guess guess(const PromptLookup& lookup, int count) {
  Guess result;
  result.found = lookup.guess(count, result.ids);
  return result;
}

Guess guess(const Ids& text, int count) {
  PromptLookup lookup;
  lookup.read(text);
  return guess(lookup, count);
}

TEST(PromptLookup, WhatFollowedTheEndBeforeIsTheGuess) {
  EXPECT_EQ(guess({1, 2, 3, 4, 9, 9, 1, 2}, 3), (Guess{3, {3, 4, 9}}));
}

TEST(PromptLookup, LongestEndThatIsFoundDecides) {
  // After 2 3 came 7 last, after 1 2 3 came 4.
  EXPECT_EQ(guess({1, 2, 3, 4, 5, 2, 3, 7, 1, 2, 3}, 1), (Guess{2, {4}}));
  EXPECT_EQ(PromptLookup::kLengths[2], 3);
}

TEST(PromptLookup, LastOccurrenceDecides) {
  EXPECT_EQ(guess({1, 2, 5, 1, 2, 6, 1, 2}, 1), (Guess{3, {6}}));
}

TEST(PromptLookup, TextThatRunsIntoItsEndIsRepeated) {
  EXPECT_EQ(guess({8, 1, 2, 3, 1, 2, 3}, 7).ids, (Ids{1, 2, 3, 1, 2, 3, 1}));
  EXPECT_EQ(guess({5, 5, 5}, 4).ids, (Ids{5, 5, 5, 5}));
}

TEST(PromptLookup, NewTextHasNoGuess) {
  EXPECT_EQ(guess(Ids(), 4), (Guess{-1, {}}));
  EXPECT_EQ(guess({1}, 4), (Guess{-1, {}}));
  EXPECT_EQ(guess({1, 2, 3, 4, 5}, 4), (Guess{-1, {}}));
  EXPECT_EQ(guess({1, 2, 1, 2}, 0), (Guess{-1, {}}));
}

TEST(PromptLookup, EmbeddingsAreNeitherFoundNorGuessed) {
  EXPECT_EQ(guess({kNoToken, kNoToken, 3, kNoToken, kNoToken}, 2), (Guess{-1, {}}));
  EXPECT_EQ(guess({1, 2, 3, kNoToken, 4, 1, 2}, 4), (Guess{3, {3}}));
}

TEST(PromptLookup, ReadingOnIsAsReadingAtOnce) {
  Ids text;
  for (int i = 0; i < 300; ++i) text.push_back(i * i % 23);
  PromptLookup growing;
  for (std::size_t size = 0; size <= text.size(); size += 7) {
    const Ids part(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(size));
    growing.read(part);
    EXPECT_EQ(guess(growing, 5), guess(part, 5)) << size;
  }
  const Ids other = {1, 2, 3, 1, 2};  // a conversation that was taken back
  growing.read(other);
  EXPECT_EQ(guess(growing, 2), guess(other, 2));
}

}  // namespace
}  // namespace junto
