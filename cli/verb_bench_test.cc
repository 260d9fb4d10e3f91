#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

std::vector<std::string> bench(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"bench", checkpoint_path("olmoe"), "--repeat", "2", "--threads", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(BenchVerb, JsonHasARowForEachTest) {
  const Ran ran = run_junto(bench({"--prefill", "16,32", "--decode", "4", "--depth", "0,64", "-o", "json"}));
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json rows = Json::parse(ran.out);
  std::vector<std::string> names;
  for (const Json& row : rows) {
    names.push_back(row["test"]);
    EXPECT_EQ(row["samples_ts"].size(), 2u);
    EXPECT_GT(row["avg_ts"].get<double>(), 0);
    EXPECT_GE(row["stddev_ts"].get<double>(), 0);
    EXPECT_EQ(row["n_threads"], 1);
    EXPECT_GT(row["share_of_read_limit"].get<double>(), 0);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"pp16", "pp32", "tg4", "pp16 @ d64", "pp32 @ d64", "tg4 @ d64"}));
  // A decoded token reads the dense part and 4 of 16 experts a layer; depth adds its KV rows.
  EXPECT_GE(rows[2]["bytes_per_token"].get<double>(), 302720);
  EXPECT_GT(rows[5]["bytes_per_token"].get<double>(), rows[2]["bytes_per_token"].get<double>());
  EXPECT_LT(rows[1]["bytes_per_token"].get<double>(), rows[2]["bytes_per_token"].get<double>());
}

TEST(BenchVerb, PolicyChangesTheBytesRead) {
  const auto bytes = [](const std::string& policy) {
    const Ran ran = run_junto(bench({"--prefill", "0", "--decode", "4", "--depth", "0", "--policy", policy, "--json"}));
    EXPECT_EQ(ran.status, 0) << ran.err;
    return Json::parse(ran.out)[0]["bytes_per_token"].get<double>();
  };
  // An expert of width 32 at hidden size 64 in bfloat16 has 12288 bytes; there are three layers.
  EXPECT_NEAR(bytes("top_k=4") - bytes("top_k=1"), 3 * 3 * 12288, 1);
}

TEST(BenchVerb, RoutesOfATraceReplaceTheRouter) {
  const Scratch scratch;
  const auto made = [&](const std::string& top_k) {
    const std::string file = scratch.path(top_k);
    EXPECT_EQ(run_junto({"trace", "--generate", "zipf:1", "--layers", "3", "--experts", "16", "--top-k", top_k,
                         "--tokens", "5", "--out", file})
                  .status,
              0);
    return file;
  };
  const auto bytes = [&](const std::string& top_k) {
    const Ran ran =
        run_junto(bench({"--prefill", "0", "--decode", "4", "--depth", "0", "--routes", made(top_k), "--json"}));
    EXPECT_EQ(ran.status, 0) << ran.err;
    return Json::parse(ran.out)[0]["bytes_per_token"].get<double>();
  };
  EXPECT_NEAR(bytes("7") - bytes("2"), 3 * 5 * 12288, 1);
  EXPECT_EQ(refusal_of({"bench", checkpoint_path("deepseek_v3"), "--routes", made("2")}),
            scratch.path("2") + ": has 3 routed layers, the model has 2");
}

TEST(BenchVerb, TablesForPeopleAndSpreadsheets) {
  const Ran markdown = run_junto(bench({"--prefill", "16", "--decode", "2", "--depth", "0"}));
  ASSERT_EQ(markdown.status, 0) << markdown.err;
  EXPECT_TRUE(markdown.out.starts_with("| model")) << markdown.out;
  EXPECT_NE(markdown.out.find("| pp16 |"), std::string::npos) << markdown.out;
  EXPECT_NE(markdown.out.find(" ± "), std::string::npos);
  const Ran csv = run_junto(bench({"--prefill", "16", "--decode", "0", "--depth", "0", "-o", "csv"}));
  ASSERT_EQ(csv.status, 0) << csv.err;
  EXPECT_TRUE(csv.out.starts_with("model,size,params,backend,threads,test,t/s,")) << csv.out;
}

TEST(BenchVerb, DefaultsKeepToTheContextAndQuestionsDoNot) {
  const Ran ran = run_junto(bench({"--json"}));  // a context of 256 holds neither pp512 nor a depth of 4096
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json rows = Json::parse(ran.out);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["test"], "pp128");
  EXPECT_EQ(rows[1]["test"], "tg64");
  EXPECT_EQ(refusal_of(bench({"--prefill", "512"})),
            checkpoint_path("olmoe") + ": pp512 has 512 tokens, context is 256");
  EXPECT_EQ(refusal_of(bench({"--depth", "200", "--decode", "64"})),
            checkpoint_path("olmoe") + ": tg64 @ d200 has 264 tokens, context is 256");
  EXPECT_EQ(refusal_of(bench({"--prefill", "x"})), "--prefill: entry 0 is \"x\", expected whole numbers as in 1,2,3");
  EXPECT_EQ(refusal_of(bench({"-o", "xml"})), "--output is xml, expected md, csv or json");
}

}  // namespace
}  // namespace junto
