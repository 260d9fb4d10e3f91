#include "compress/text_overlap.h"

#include <gtest/gtest.h>

namespace junto {
namespace {

TEST(TextOverlap, EightWordsInOrderAreFoundWhateverTheirCaseAndPunctuation) {
  EightGrams tests;
  tests.add("One two three four five six seven eight nine.");
  EXPECT_EQ(tests.size(), 2u);
  EXPECT_EQ(tests.shared_with("zero, one: TWO three -- four five six seven (eight)"), 1);
  EXPECT_EQ(tests.shared_with("one two three four five six seven"), 0);
  EXPECT_EQ(tests.shared_with("two one three four five six seven eight"), 0);
}

TEST(TextOverlap, ParagraphsThatShareARunAreDropped) {
  EightGrams tests;
  tests.add("all human beings are born free and equal in dignity and rights");
  const CleanText clean = without_overlap(
      "Something else.\n\nIt says: all human beings are born free and equal in dignity.\n\nThe end.\n", tests);
  EXPECT_EQ(clean.text, "Something else.\n\n\nThe end.\n");
  EXPECT_EQ(clean.paragraphs, 3);
  EXPECT_EQ(clean.dropped, 1);
  EXPECT_EQ(clean.shared, 0);
}

}  // namespace
}  // namespace junto
