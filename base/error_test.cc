#include "base/error.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"

namespace junto {
namespace {

TEST(Error, NamesPlaceThenProblem) {
  try {
    fail("a.gguf", "expert_used_count is 9, expected 1..8");
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a.gguf: expert_used_count is 9, expected 1..8");
  }
}

TEST(Error, PrintableEscapesControlCharactersAndCuts) {
  EXPECT_EQ(printable("a\nb"), "a\\x0ab");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
}

TEST(Error, NearestFindsTheTypo) {
  const std::vector<std::string> verbs = {"run", "chat", "tokenize", "perplexity"};
  EXPECT_EQ(nearest("tokenise", verbs), "tokenize");
  EXPECT_EQ(nearest("rnu", verbs), "run");
  EXPECT_EQ(nearest("zzzzzzzz", verbs), "");
}

TEST(Json, RefusesDepthBeyondTheLimit) {
  const std::string deep(100000, '[');
  EXPECT_THROW(parse_json(deep, "deep.json"), Error);
  EXPECT_EQ(parse_json("[[1]]", "x").dump(), "[[1]]");
}

TEST(Json, SyntaxErrorNamesFile) {
  try {
    parse_json("{\"a\": }", "config.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("config.json: not valid JSON: parse error at line 1"), std::string::npos);
  }
}

}  // namespace
}  // namespace junto
