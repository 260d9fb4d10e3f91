#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "analyze/route_trace.h"
#include "base/json.h"
#include "cli/test_program.h"
#include "format/safetensors.h"

namespace junto {
namespace {

TEST(TraceVerb, RecordsWhatTheModelRoutes) {
  const Scratch scratch;
  const std::string model = checkpoint_path("deepseek_v3");  // its first layer is dense
  const Ran ran = run_junto({"trace", model, "--ids", "5,17,40,3,9", "--context", "3", "--out", scratch.path("t")});
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(ran.out.find("5 tokens in 2 sequences, 2 layers"), std::string::npos) << ran.out;
  const RouteTrace trace = read_trace(scratch.path("t"));
  EXPECT_EQ(trace.token, (std::vector<std::int32_t>{5, 17, 40, 3, 9}));
  EXPECT_EQ(trace.sequence_begin, (std::vector<std::int64_t>{0, 3}));
  ASSERT_EQ(trace.layers.size(), 2u);

  ASSERT_EQ(run_junto({"logits", model, "--ids", "3,9", "--out", scratch.path("l")}).status, 0);
  const SafetensorsFile expected = open_safetensors(scratch.path("l"));
  for (const TracedLayer& layer : trace.layers) {
    EXPECT_EQ(layer.experts, 16);
    EXPECT_GT(layer.expert_bytes, 0);
    const Tensor& ids = *expected.tensors.find("experts." + std::to_string(layer.layer));
    const auto* id = reinterpret_cast<const std::int32_t*>(ids.bytes.data());
    ASSERT_EQ(ids.shape, (Shape{2, 4}));
    for (const std::int64_t row : {0, 1}) {
      EXPECT_TRUE(std::ranges::equal(layer.plan.experts_of(3 + row), std::span(id + 4 * row, 4))) << layer.name();
    }
  }
}

TEST(TraceVerb, GeneratesAModelsShapeAndCountsIt) {
  const Scratch scratch;
  const std::string file = scratch.path("t"), picture = scratch.path("p.svg");
  const Ran made = run_junto({"trace", checkpoint_path("deepseek_v3"), "--generate", "zipf:1.0,repeat:0.5", "--tokens",
                              "100", "--seed", "3", "--out", file, "--json"});
  ASSERT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(Json::parse(made.out)["layers"], 2);
  const Ran counted = run_junto({"trace", "--stats", file, "--pairs", "2", "--picture", picture, "--json"});
  ASSERT_EQ(counted.status, 0) << counted.err;
  const Json layer = Json::parse(counted.out)["layers"][0];
  EXPECT_EQ(layer["layer"], 1);
  EXPECT_EQ(layer["experts"], 16);
  EXPECT_EQ(layer["per_token"], 4.0);
  EXPECT_EQ(layer["max_entropy_bits"], 4.0);
  EXPECT_EQ(layer["uses"].size(), 16u);
  EXPECT_EQ(layer["pairs"].size(), 2u);
  EXPECT_TRUE(contents(picture).starts_with("<svg "));
  const Ran table = run_junto({"trace", "--stats", file});
  EXPECT_NE(table.out.find("of 4.00 bits"), std::string::npos) << table.out;

  EXPECT_EQ(run_junto({"trace", "--generate", "uniform", "--layers", "3", "--experts", "8", "--top-k", "2", "--tokens",
                       "10", "--expert-bytes", "1MB", "--out", file})
                .status,
            0);
  EXPECT_EQ(read_trace(file).layers[2].expert_bytes, 1000000);
}

TEST(TraceVerb, SaysHowLongDevicesWait) {
  const Scratch scratch;
  const std::string file = scratch.path("t");
  ASSERT_EQ(run_junto({"trace", "--generate", "zipf:1.0", "--layers", "2", "--experts", "8", "--top-k", "2", "--tokens",
                       "100", "--out", file})
                .status,
            0);
  const Ran one = run_junto({"trace", file, "--devices", "1", "--json"});
  ASSERT_EQ(one.status, 0) << one.err;
  EXPECT_EQ(Json::parse(one.out)["slowest_rows_per_token"], 4.0);
  EXPECT_EQ(Json::parse(one.out)["waiting"], 0.0);
  const Json four = Json::parse(run_junto({"trace", file, "--devices", "4", "--batch", "10", "--json"}).out);
  EXPECT_EQ(four["mean_rows_per_token"], 1.0);
  EXPECT_GT(four["slowest_rows_per_token"], 1.2);
  EXPECT_NEAR(four["waiting"].get<double>(), 1.0 - 1.0 / four["slowest_rows_per_token"].get<double>(), 1e-12);
  const Ran text = run_junto({"trace", file, "--devices", "4"});
  EXPECT_NE(text.out.find("4 devices, steps of 256 tokens"), std::string::npos) << text.out;
}

TEST(TraceVerb, SaysHowWellRulesGuessAtEqualBytes) {
  const Scratch scratch;
  const std::string file = scratch.path("t"), earlier = scratch.path("e");
  for (const std::string& out : {file, earlier}) {
    ASSERT_EQ(run_junto({"trace", checkpoint_path("olmoe"), "--generate", "zipf:1.0,repeat:0.5", "--tokens", "60",
                         "--seed", out == file ? "1" : "2", "--out", out})
                  .status,
              0);
  }
  const Ran ran = run_junto({"trace", file, "--predict", "all", "--learn", earlier, "--warm-up", "10", "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json all = Json::parse(ran.out);
  ASSERT_EQ(all.size(), 7u);
  for (const Json& one : all) {
    EXPECT_EQ(one["guessed_bytes"], all[0]["guessed_bytes"]);
    EXPECT_EQ(one["recall"], one["precision"]);
    const bool oracle = one["rule"].get<std::string>().starts_with("oracle");
    EXPECT_EQ(one["recall"] == 1.0, oracle) << one["rule"];
  }
  const Ran table = run_junto({"trace", file, "--predict", "table,previous-token"});
  ASSERT_EQ(table.status, 0) << table.err;
  EXPECT_NE(table.out.find("| previous-token |"), std::string::npos) << table.out;
  EXPECT_EQ(refusal_of({"trace", file, "--predict", "next-router"}),
            "next-router: asks the model's routers, which no trace has: run the model with --prefetch");
  EXPECT_EQ(refusal_of({"trace", "--predict", "table"}), "--predict needs a trace: junto trace TRACE --predict RULE");
  EXPECT_EQ(refusal_of({"trace", file, "--learn", earlier, "--out", "t"}), "--learn: is for --predict");
}

TEST(TraceVerb, SaysWhatASchedulerOfPathsSaves) {
  const std::string trace = JUNTO_SOURCE_DIR "/testdata/traces/udhr.trace";
  const Ran ran = run_junto({"trace", trace, "--schedule", "4", "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json found = Json::parse(ran.out);
  EXPECT_GT(found["units"], 90);
  EXPECT_LT(found["scheduled"], found["original"]);
  EXPECT_NE(run_junto({"trace", trace, "--schedule", "4"}).out.find("| scheduled "), std::string::npos);
  EXPECT_NE(refusal_of({"trace", trace, "--schedule", "400"}).find("expected at least two batches of 400"),
            std::string::npos);
}

TEST(TraceVerb, PathsAreRefusedWithoutAPredictorAndWhereThereIsNone) {
  const std::string trace = JUNTO_SOURCE_DIR "/testdata/traces/udhr.trace", model = checkpoint_path("olmoe");
  EXPECT_EQ(refusal_of({"trace", trace, "--predict", "path"}),
            "path: needs a predictor of paths: --path-predictor FILE");
  EXPECT_EQ(refusal_of({"trace", trace, "--predict", "path", "--path-predictor", checkpoint_path("llama")}),
            checkpoint_path("llama") + ": is a language model, expected a predictor of paths");
  EXPECT_EQ(refusal_of({"run", model, "--ids", "1", "--prefetch", "path"}),
            "--prefetch: is path, which needs --path-predictor FILE");
  EXPECT_EQ(refusal_of({"run", model, "--ids", "1", "--path-predictor", model}),
            "--path-predictor: is given, but --prefetch is next-router, expected path");
}

TEST(TraceVerb, AsksForWhatIsMissing) {
  const std::string model = checkpoint_path("olmoe");
  EXPECT_EQ(refusal_of({"trace", "--out", "t"}), "junto trace needs MODEL; see junto trace --help");
  EXPECT_EQ(refusal_of({"trace", model, "--ids", "1"}), "junto trace needs --out FILE; see junto trace --help");
  EXPECT_EQ(refusal_of({"trace", "--generate", "uniform", "--out", "t"}), "--generate needs --tokens N");
  EXPECT_EQ(refusal_of({"trace", "--generate", "uniform", "--out", "t", "--tokens", "1"}),
            "--layers: is 0, expected at least 1");
  EXPECT_EQ(refusal_of({"trace", "--stats", model + "/config.json"}),
            model + "/config.json: is no trace: does not begin with JUNTOTRC; see junto trace --help");
  EXPECT_EQ(refusal_of({"trace", model, "--out", "t"}), "expected either --file or --ids");
  EXPECT_EQ(refusal_of({"trace", model, "--out", "t", "--ids", "1", "--context", "300"}),
            "--context: is 300, expected 2..256, the context of " + model);
  EXPECT_EQ(refusal_of({"trace", checkpoint_path("llama"), "--out", "t", "--ids", "1"}),
            checkpoint_path("llama") + ": has no routed layer to trace");
}

}  // namespace
}  // namespace junto
