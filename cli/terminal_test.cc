#include "cli/terminal.h"

#include <gtest/gtest.h>

namespace junto {
namespace {

TEST(Terminal, WidthCountsColumnsNotBytes) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("é"), 1);
  EXPECT_EQ(display_width("日本"), 4);
}

TEST(Terminal, FittedTextHasExactlyTheColumns) {
  EXPECT_EQ(fitted("ab", 4), "ab  ");
  EXPECT_EQ(fitted("abcdef", 4), "abc…");
  EXPECT_EQ(fitted("日本語", 4), "日… ");
  EXPECT_EQ(fitted("a\nb", 4), "a↵b ");
  for (const char* text : {"", "a", "日", "日本語日本語", "\t\n"}) {
    for (int columns = 1; columns < 8; ++columns) EXPECT_EQ(display_width(fitted(text, columns)), columns) << text;
  }
}

}  // namespace
}  // namespace junto
