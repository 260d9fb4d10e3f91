#include "generate/text_stream.h"

#include <gtest/gtest.h>

#include <random>

#include "format/tokenizer/unicode.h"

namespace junto {
namespace {

TEST(TextStream, HoldsACharacterUntilItIsWhole) {
  TextStream stream;
  EXPECT_EQ(stream.push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.push("\x98"), "");
  EXPECT_EQ(stream.push("\x80!"), "\xF0\x9F\x98\x80!");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, BrokenBytesBecomeReplacementCharacters) {
  TextStream stream;
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  EXPECT_EQ(stream.push("x"), "\xEF\xBF\xBDx");
  EXPECT_EQ(stream.push("\xFF"), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.push("\xC3"), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(TextStream, EveryPieceIsValidAndTheWholeIsTheLossyText) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string bytes, shown;
    TextStream stream;
    for (int i = 0; i < 40; ++i) {
      static const std::string_view parts[] = {"\xF0", "\x9F", "\x98",     "\x80", "\xE2", "\x82",
                                               "\xAC", "a",    "\xC3\xA9", "\xED", "\xA0"};
      const std::string_view part = parts[random() % std::size(parts)];
      bytes += part;
      const std::string out = stream.push(part);
      EXPECT_EQ(text::valid_utf8_prefix(out), out.size());
      shown += out;
    }
    shown += stream.finish();
    EXPECT_EQ(shown, text::lossy_utf8(bytes));
  }
}

TEST(TextStream, NothingOfAStopStringIsShown) {
  TextStream stream({"</end>"});
  EXPECT_EQ(stream.push("one <"), "one ");
  EXPECT_EQ(stream.push("/"), "");
  EXPECT_EQ(stream.push("b> </e"), "</b> ");
  EXPECT_EQ(stream.push("nd> two"), "");
  EXPECT_EQ(stream.stopped_by(), "</end>");
  EXPECT_EQ(stream.push("three"), "");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, BeginningOfAStopStringIsShownInTheEnd) {
  TextStream stream({"\n\nQ:"});
  EXPECT_EQ(stream.push("answer\n\n"), "answer");
  EXPECT_EQ(stream.finish(), "\n\n");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, EarliestOfSeveralStopStringsWins) {
  TextStream stream({"bc", "", "abcd"});
  EXPECT_EQ(stream.push("xabc"), "xa");
  EXPECT_EQ(stream.stopped_by(), "bc");
}

TEST(TextStream, StopStringMayOverlapItself) {
  TextStream stream({"aab"});
  EXPECT_EQ(stream.push("aa"), "");
  EXPECT_EQ(stream.push("a"), "a");
  EXPECT_EQ(stream.push("b"), "");
  EXPECT_EQ(stream.stopped_by(), "aab");
}

}  // namespace
}  // namespace junto
