#include "cli/table.h"

#include <gtest/gtest.h>

namespace junto {
namespace {

const Table kTable = {{{"test", Align::kLeft}, {"t/s", Align::kRight}}, {{"pp128 \"é\"", "1,2"}, {"x", "3"}}};

TEST(Table, MarkdownIsPaddedByDisplayWidth) {
  EXPECT_EQ(to_markdown(kTable),
            "| test      | t/s |\n"
            "| --------- | --: |\n"
            "| pp128 \"é\" | 1,2 |\n"
            "| x         |   3 |\n");
}

TEST(Table, CsvQuotesWhatNeedsIt) {
  EXPECT_EQ(to_csv(kTable), "test,t/s\r\n\"pp128 \"\"é\"\"\",\"1,2\"\r\nx,3\r\n");
}

TEST(Table, PlainHasNoTrailingSpace) {
  const Table table = {{{"a"}, {"b"}}, {{"1", ""}, {"22", "3"}}};
  EXPECT_EQ(to_plain(table), "a   b\n1\n22  3\n");
}

}  // namespace
}  // namespace junto
