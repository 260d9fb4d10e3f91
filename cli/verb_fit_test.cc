// junto fit: forecasts follow from sizes and rates, and both byte counts stand in the error where nothing fits.
#include <gtest/gtest.h>

#include "base/json.h"
#include "cli/forecast.h"
#include "cli/test_program.h"

namespace junto {
namespace {

TEST(Forecast, IsLimitedByTheSlowerOfDiskAndMemory) {
  Needs needs;
  needs.read_per_token = 700'000'000;
  needs.experts_per_token = 450'000'000;
  needs.expert_count = 1024;
  needs.cached = 256;
  needs.streamed = true;
  const Forecast slow = forecast(needs, 30e9, 1e9), fast = forecast(needs, 30e9, 100e9);
  EXPECT_EQ(slow.limit, Limit::kDisk);
  EXPECT_EQ(fast.limit, Limit::kMemoryBandwidth);
  EXPECT_LT(slow.tokens_per_s, 1e9 / (450e6 * 0.75));  // what the disk alone allows
  needs.cached = 1024;
  EXPECT_DOUBLE_EQ(forecast(needs, 30e9, 1e9).tokens_per_s, fast.tokens_per_s);
  needs.cached = 512;
  EXPECT_GT(forecast(needs, 30e9, 1e9).tokens_per_s, slow.tokens_per_s);
}

const char* const kModel = JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/olmoe";

TEST(Fit, PrintsTheSameForecastAsJson) {
  const Ran result = run_junto({"fit", kModel, "--memory", "8GiB", "--context", "64", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out);
  EXPECT_FALSE(json["streamed"]);
  EXPECT_EQ(json["context"], 64);
  EXPECT_EQ(json["experts"], json["experts_cached"]);
  EXPECT_EQ(json["memory_bytes"], std::int64_t{8} << 30);
  EXPECT_GT(json["tokens_per_s"], 0);
}

TEST(Fit, StreamsThroughWhatIsGiven) {
  const Ran result = run_junto({"fit", kModel, "--expert-memory", "80000", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out);
  EXPECT_TRUE(json["streamed"]);
  EXPECT_LT(json["experts_cached"], json["experts"]);
  EXPECT_EQ(json["experts_cached"], 80000 / json["slot_bytes"].get<std::int64_t>());
  EXPECT_GT(json["disk_bytes_per_s"], 0);
}

TEST(Fit, WhereNotEvenTheDensePartFitsBothSizesAreSaid) {
  const Ran result = run_junto({"fit", kModel, "--memory", "100000"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("to work in, but only 100 kB of memory are available"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace junto
