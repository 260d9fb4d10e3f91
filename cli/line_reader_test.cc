#include "cli/line_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  int ends[2];
  if (pipe(ends) != 0 || write(ends[1], text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    fail("pipe", "failed");
  close(ends[1]);
  LineReader reader(ends[0]);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line) == LineReader::Result::kLine;) lines.push_back(line);
  close(ends[0]);
  return lines;
}

TEST(LineReader, LastLineNeedsNoBreak) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(lines_of("a\n\nb\r\nc"), (Lines{"a", "", "b", "c"}));
  EXPECT_EQ(lines_of("a\n"), (Lines{"a"}));
  EXPECT_EQ(lines_of(""), Lines{});
  EXPECT_EQ(lines_of(std::string(20000, 'x') + "\ny"), (Lines{std::string(20000, 'x'), "y"}));
}

}  // namespace
}  // namespace junto
