#include "train/data/number_table.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "format/test_directory.h"

namespace junto {
namespace {

TEST(NumberTable, NamesItsColumns) {
  const NumberTable table = parse_number_table("age,label\r\n1.5,0\n\n-2e1,1\n", "t");
  EXPECT_EQ(table.columns, (std::vector<std::string>{"age", "label"}));
  EXPECT_TRUE(at::equal(table.column("age"), at::tensor({1.5f, -20.0f})));
  EXPECT_TRUE(at::equal(table.column("label"), at::tensor({0.0f, 1.0f})));
  EXPECT_EQ(parse_number_table("a,b\n", "t").values.sizes(), (at::IntArrayRef{0, 2}));
  EXPECT_EQ(error_of([&] { table.column("height"); }), "table: has no column height");
}

TEST(NumberTable, WhatIsNoNumberIsNamedWithItsLine) {
  const auto refusal = [](std::string_view text) { return error_of([&] { parse_number_table(text, "t.csv"); }); };
  EXPECT_EQ(refusal(""), "t.csv: is empty, expected a line of column names");
  EXPECT_EQ(refusal("a,b\n1,2\n3\n"), "t.csv: line 3: 1 fields, expected 2, as many as columns");
  EXPECT_EQ(refusal("a,b\n1,2x\n"), "t.csv: line 2: 2x, expected a finite number");
  EXPECT_EQ(refusal("a\n1e99\n"), "t.csv: line 2: 1e99, expected a finite number");
  EXPECT_NE(refusal("a\nnan\n").find("nan, expected a finite number"), std::string::npos);
}

}  // namespace
}  // namespace junto
