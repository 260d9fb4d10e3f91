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

TEST(TraceVerb, AsksForWhatIsMissing) {
  const std::string model = checkpoint_path("olmoe");
  EXPECT_EQ(refusal_of({"trace", "--out", "t"}), "junto trace needs MODEL; see junto trace --help");
  EXPECT_EQ(refusal_of({"trace", model, "--ids", "1"}), "junto trace needs --out FILE; see junto trace --help");
  EXPECT_EQ(refusal_of({"trace", model, "--out", "t"}), "expected either --file or --ids");
  EXPECT_EQ(refusal_of({"trace", model, "--out", "t", "--ids", "1", "--context", "300"}),
            "--context: is 300, expected 2..256, the context of " + model);
  EXPECT_EQ(refusal_of({"trace", checkpoint_path("llama"), "--out", "t", "--ids", "1"}),
            checkpoint_path("llama") + ": has no routed layer to trace");
}

}  // namespace
}  // namespace junto
