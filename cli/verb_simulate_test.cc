#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

std::string make_trace(const Scratch& scratch) {
  const std::string file = scratch.path("t");
  const Ran ran = run_junto({"trace", "--generate", "zipf:1.0,repeat:0.5", "--layers", "3", "--experts", "16",
                             "--top-k", "4", "--tokens", "200", "--expert-bytes", "1MB", "--out", file});
  EXPECT_EQ(ran.status, 0) << ran.err;
  return file;
}

TEST(SimulateVerb, EveryPolicyBetweenTheDiskAndTheBound) {
  const Scratch scratch;
  const std::string trace = make_trace(scratch);
  const Ran ran = run_junto({"simulate", "--trace", trace, "--expert-memory", "16MB,32MB", "--disk", "1GB/s",
                             "--compute", "3", "--dense", "1", "--warm-up", "50", "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json points = Json::parse(ran.out);
  ASSERT_EQ(points.size(), 14u);
  for (const Json& point : points) {
    EXPECT_EQ(point["tokens"], 150);
    EXPECT_EQ(point["slots"].get<int>(), point["expert_memory"].get<std::int64_t>() / 1000000);
    EXPECT_EQ(point["hits"].get<int>() + point["misses"].get<int>(), 150 * 12);
    EXPECT_EQ(point["bytes_read"].get<double>(), point["misses"].get<int>() * 1e6);
    // Neither faster than reading or computing alone, nor slower than one after the other.
    const double reads_s = point["bytes_read"].get<double>() / 1e9, computes_s = 150 * 3e-3;
    EXPECT_GT(point["seconds"].get<double>(), std::max(reads_s, computes_s) * (1 - 1e-6));
    EXPECT_LT(point["seconds"].get<double>(), (reads_s + computes_s) * (1 + 1e-6));
  }
}

TEST(SimulateVerb, GuessesStandBesideTheirCosts) {
  const Scratch scratch;
  const std::string trace = make_trace(scratch);
  const std::vector<std::string> shared = {"simulate",
                                           "--trace",
                                           trace,
                                           "--expert-memory",
                                           "32MB",
                                           "--disk",
                                           "1GB/s",
                                           "--compute",
                                           "30",
                                           "--evict",
                                           "layer,belady",
                                           "--prefetch",
                                           "none,oracle,next-router",
                                           "--router-recall",
                                           "0.5"};
  std::vector<std::string> json = shared;
  json.push_back("--json");
  const Ran ran = run_junto(json);
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json points = Json::parse(ran.out);
  ASSERT_EQ(points.size(), 6u);
  EXPECT_EQ(points[1]["prefetch"], "oracle");
  EXPECT_EQ(points[1]["precision"], 1.0);
  EXPECT_NEAR(points[2]["recall"].get<double>(), 0.5, 0.05);
  EXPECT_GT(points[1]["hit_ratio"].get<double>(), points[0]["hit_ratio"].get<double>());
  EXPECT_LT(points[1]["stall_s"].get<double>(), points[0]["stall_s"].get<double>());
  const Ran table = run_junto(shared);
  EXPECT_NE(table.out.find("layer + oracle"), std::string::npos) << table.out;
  EXPECT_EQ(
      refusal_of({"simulate", "--trace", trace, "--expert-memory", "32MB", "--disk", "1GB/s", "--compute", "3",
                  "--prefetch", "next-router"}),
      "next-router: asks the model's routers, which no trace has: say how often they are right (--router-recall)");
}

TEST(SimulateVerb, SweepsAndDrawsMeasurementsBeside) {
  const Scratch scratch;
  const std::string trace = make_trace(scratch), picture = scratch.path("s.svg");
  const std::string measured =
      scratch.put("m.json", R"([{"evict": "lru", "expert_memory": 2e7, "tokens_per_s": 100}])");
  const Ran ran = run_junto({"simulate", "--trace", trace, "--sweep", picture, "--measured", measured, "--disk",
                             "1GB/s", "--compute", "3", "--evict", "lru,belady"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(ran.out.find("| belady |"), std::string::npos) << ran.out;
  EXPECT_NE(contents(picture).find("<circle"), std::string::npos);
}

TEST(SimulateVerb, ErrorsNameTheOption) {
  const Scratch scratch;
  const std::string trace = make_trace(scratch);
  const auto refusal = [&](std::vector<std::string> more) {
    std::vector<std::string> all = {"simulate", "--trace", trace, "--compute", "3"};
    all.insert(all.end(), more.begin(), more.end());
    return refusal_of(all);
  };
  EXPECT_EQ(refusal({"--disk", "1GB/s"}),
            "junto simulate needs --expert-memory SIZE or --sweep FILE; see junto simulate --help");
  EXPECT_EQ(refusal({"--disk", "1GB"}), "--disk: is 1GB, expected a rate such as 0.6GB/s");
  EXPECT_EQ(refusal({"--disk", "1GB/s", "--expert-memory", "1MB", "--evict", "mru"}),
            "--evict: names mru, expected lru, lfu, lifo, layer, predicted, static, belady, or all");
  EXPECT_EQ(refusal({"--disk", "1GB/s", "--expert-memory", "1KB"}),
            "simulate: expert memory holds 0 experts, expected 1 or more");
  EXPECT_EQ(refusal({"--disk", "1GB/s", "--expert-memory", "1MB", "--dense", "4"}),
            "--dense: is more than --compute, of which it is a part");
}

TEST(SimulateVerb, AnOracleGuessesWhatTheTraceOfItsRunSays) {
  const Scratch scratch;
  const std::string model = checkpoint_path("olmoe"), trace = scratch.path("t");
  const auto ran = [&](std::vector<std::string> more) {
    std::vector<std::string> all = {"run",    model,    "--ids", "5,17,40,3,9", "-n", "12", "--expert-memory", "400000",
                                    "--json", "--temp", "0"};
    all.insert(all.end(), more.begin(), more.end());
    return run_junto(all);
  };
  const Ran plain = ran({});
  ASSERT_EQ(plain.status, 0) << plain.err;
  const Json answer = Json::parse(plain.out);
  std::string ids = "5,17,40,3,9";
  for (const Json& id : answer["ids"]) ids += "," + id.dump();
  ASSERT_EQ(run_junto({"trace", model, "--ids", ids, "--out", trace}).status, 0);
  for (const char* rule : {"oracle", "oracle:2", "table"}) {
    const Ran guessed = ran({"--prefetch", rule, "--prefetch-trace", trace});
    ASSERT_EQ(guessed.status, 0) << guessed.err;
    const Json found = Json::parse(guessed.out);
    EXPECT_EQ(found["ids"], answer["ids"]) << rule;
    EXPECT_EQ(found["streaming"]["prefetch"], rule);
    EXPECT_GT(found["streaming"]["guessed"], 0) << rule;
    EXPECT_EQ(found["streaming"]["precision"] == 1.0, std::string(rule).starts_with("oracle")) << rule;
  }
  EXPECT_EQ(refusal_of({"run", model, "--ids", "1", "--prefetch", "oracle"}),
            "--prefetch: is oracle, which needs --prefetch-trace FILE, the trace of the same run");
  EXPECT_EQ(refusal_of({"run", model, "--ids", "1", "--prefetch-trace", trace}),
            "--prefetch-trace: is given, but --prefetch is next-router, expected table or oracle");
}

TEST(SimulateVerb, ALimitedDiskIsAsFastAsItSays) {
  const Scratch scratch;
  const std::string model = checkpoint_path("olmoe");
  const auto bench = [&](std::vector<std::string> more) {
    std::vector<std::string> all = {"bench", model,     "--prefill", "0",        "--decode",
                                    "12",    "--depth", "0",         "--repeat", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Ran ran = run_junto(bench({"--json", "--expert-memory", "250000", "--disk-limit", "2MB/s"}));
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json streaming = Json::parse(ran.out)[0]["streaming"];
  EXPECT_EQ(streaming["engine"], "threads");
  EXPECT_GT(streaming["bytes_read"].get<double>(), 1e5);
  EXPECT_LT(streaming["disk_bytes_per_s"].get<double>(), 2.1e6);
  EXPECT_LT(streaming["bytes_read_per_s"].get<double>(), 2.2e6);
  EXPECT_EQ(refusal_of(bench({"--disk-limit", "2MB/s"})),
            "--disk-limit: is for experts that are streamed (--expert-memory); those of " + model + " stay in memory");
  EXPECT_EQ(refusal_of(bench({"--disk-limit", "2MB", "--expert-memory", "250000"})),
            "--disk-limit: is 2MB, expected a rate such as 0.6GB/s");
}

TEST(SimulateVerb, ARunWithAHotSetReadsWhatIsPredicted) {
  const Scratch scratch;
  const std::string model = checkpoint_path("olmoe"), trace = scratch.path("t");
  ASSERT_EQ(run_junto({"trace", model, "--generate", "zipf:1.0", "--tokens", "40", "--out", trace}).status, 0);
  for (const char* evict : {"static", "lru"}) {
    std::vector<std::string> bench = {
        "bench",   model,        "--routes", trace, "--prefill", "0",   "--decode", "38",
        "--depth", "0",          "--repeat", "1",   "--evict",   evict, "--json",   "--expert-memory",
        "250000",  "--prefetch", "none"};
    if (std::string(evict) == "static") bench.insert(bench.end(), {"--hot-set", trace});
    const Ran ran = run_junto(bench);
    ASSERT_EQ(ran.status, 0) << ran.err;
    const Ran simulated = run_junto({"simulate", "--trace", trace, "--expert-memory", "250000", "--evict", evict,
                                     "--disk", "1GB/s", "--compute", "1", "--json"});
    ASSERT_EQ(simulated.status, 0) << simulated.err;
    const double predicted = 100 * Json::parse(simulated.out)[0]["hit_ratio"].get<double>();
    const std::size_t end = ran.err.find(" % of experts were in memory");
    ASSERT_NE(end, std::string::npos) << ran.err;
    EXPECT_NEAR(std::stod(ran.err.substr(ran.err.rfind('\n', end) + 1)), predicted, 1)
        << evict;  // printed without decimals
  }
  EXPECT_EQ(refusal_of({"bench", model, "--evict", "static"}),
            "--evict: is static, which needs --hot-set FILE, a trace of junto trace");
  EXPECT_EQ(refusal_of({"bench", model, "--hot-set", trace}),
            "--hot-set: is given, but --evict is layer, expected static");
}

}  // namespace
}  // namespace junto
