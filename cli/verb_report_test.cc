// junto report: results become one page, smoke runs none.
#include <gtest/gtest.h>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

std::string result_of(const std::string& mode) {
  const Json json = {{"version", 1},
                     {"slug", "x"},
                     {"title", "X"},
                     {"paper", "p"},
                     {"about", "a"},
                     {"mode", mode},
                     {"declared", "d"},
                     {"commit", "c"},
                     {"machine", {{"compiler", "g"}, {"blas", "b"}, {"processor", "p"}, {"threads", 1}}},
                     {"texts", Json::array()},
                     {"seconds", 1.0},
                     {"flops", 1.0},
                     {"arms", Json::array()},
                     {"claims", Json::array()}};
  return json.dump();
}

TEST(Report, WritesAPageAndRefusesSmokeRuns) {
  const Scratch scratch;
  const std::string page = scratch.path("page.html");
  const std::string full = scratch.put("full.json", result_of("full"));
  const Ran ran = run_junto({"report", full, "--out", page});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(contents(page).find("<section id=\"x\">"), std::string::npos);
  const std::string smoke = scratch.put("smoke.json", result_of("smoke"));
  const std::string other = scratch.path("other.html");
  EXPECT_NE(refusal_of({"report", smoke, "--out", other}).find("expected full or partial"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(other));
  EXPECT_NE(refusal_of({"report", scratch.path("none.json")}).find("none.json"), std::string::npos);
}

}  // namespace
}  // namespace junto
