#include "cli/expert_memory.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/test_program.h"

namespace junto {
namespace {

constexpr std::int64_t kMiB = 1 << 20, kGiB = std::int64_t{1} << 30;

TEST(ExpertMemory, SizesHaveUnits) {
  EXPECT_EQ(parse_bytes("4096", "--m"), 4096);
  EXPECT_EQ(parse_bytes("1.5GiB", "--m"), 3 * kGiB / 2);
  EXPECT_EQ(parse_bytes("800MB", "--m"), 800000000);
  for (const char* bad : {"", "lots", "1.2GGB", "-1GB", "1e30GB", "GB"})
    EXPECT_THROW(parse_bytes(bad, "--m"), Error) << bad;
}

TEST(ExpertMemory, FilesAreReadAsTheEnvironmentSays) {
  EXPECT_EQ(parse_read_engine(nullptr), ReadEngine::kAuto);
  EXPECT_EQ(parse_read_engine("threads"), ReadEngine::kThreads);
  EXPECT_THROW(parse_read_engine("aio"), Error);
}

TEST(ExpertMemory, AutoStreamsWhatDoesNotFit) {
  const ExpertMemoryOptions automatic;
  const StoredBytes model{.all = 4 * kGiB, .experts = 3 * kGiB};
  EXPECT_EQ(choose_expert_memory(automatic, model, kMiB, 16 * kGiB, "m"), 0);        // fits twice
  EXPECT_GE(choose_expert_memory(automatic, model, kMiB, 5 * kGiB, "m"), 3 * kGiB);  // fits once: all in slots
  const std::int64_t small = choose_expert_memory(automatic, model, kMiB, 2 * kGiB, "m");
  EXPECT_GT(small, kGiB / 2);
  EXPECT_LT(small, kGiB);
  // What a call computes with is not given to experts.
  EXPECT_LE(choose_expert_memory(automatic, model, 101 * kMiB, 2 * kGiB, "m"), small - 89 * kMiB);
  EXPECT_EQ(choose_expert_memory(automatic, {.all = 4 * kGiB, .experts = 0}, kMiB, 2 * kGiB, "m"), 0);
  try {
    choose_expert_memory(automatic, model, 64 * kMiB, kGiB, "m.gguf");
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              "m.gguf: what every token reads takes 1.07 GB and 201 MB to work in, but only 1.07 GB of memory are "
              "available");
  }
}

TEST(ExpertMemory, RunStreamsTheSameTokensAndCounts) {
  std::vector<std::string> asked = {"run", checkpoint_path("olmoe"), "--ids", "5,17,40", "-n", "20", "--temp",
                                    "0",   "--ignore-eos",           "--json"};
  const Json resident = Json::parse(run_junto(asked).out);
  asked.insert(asked.end(), {"--expert-memory", "100KB", "--evict", "lru"});
  const Ran ran = run_junto(asked);
  const Json streamed = Json::parse(ran.out);
  EXPECT_EQ(streamed["ids"], resident["ids"]);
  EXPECT_FALSE(resident.contains("streaming"));
  EXPECT_EQ(streamed["streaming"]["evict"], "lru");
  EXPECT_GT(streamed["streaming"]["bytes_read"], 0);
  EXPECT_NE(ran.err.find("of experts through"), std::string::npos);
  EXPECT_EQ(run_junto({"run", checkpoint_path("llama"), "--ids", "5", "--expert-memory", "1MB"}).err,
            "junto: --expert-memory: is given, but " + checkpoint_path("llama") + " has no routed experts\n");
}

TEST(ExpertMemory, APredictorOfPathsGuessesMostAndChangesNoToken) {
  const std::string paths = JUNTO_SOURCE_DIR "/models/junto-mini-paths.gguf";
  const std::vector<std::string> asked = {"run", "mini", "--raw",  "-p", "She was very",
                                          "-n",  "24",   "--temp", "0",  "--json"};
  const auto ran = [&](const std::vector<std::string>& more) { return json_of_run(asked, more); };
  const Json resident = ran({});
  for (const char* rule : {"path", "path:2"}) {
    const Json streamed = ran({"--expert-memory", "4MB", "--prefetch", rule, "--path-predictor", paths});
    EXPECT_EQ(streamed["ids"], resident["ids"]) << rule;
    EXPECT_GT(streamed["streaming"]["recall"], 0.6) << rule;
  }
  const Ran as_model = run_junto({"run", paths, "--ids", "1"});
  EXPECT_NE(as_model.err.find("predicts routes of another model"), std::string::npos) << as_model.err;
  const std::string trace = JUNTO_SOURCE_DIR "/testdata/traces/udhr.trace";
  const Ran predicted =
      run_junto({"trace", trace, "--predict", "path,previous-token", "--path-predictor", paths, "--json"});
  ASSERT_EQ(predicted.status, 0) << predicted.err;
  const Json found = Json::parse(predicted.out);
  EXPECT_GT(found[0]["recall"], found[1]["recall"].get<double>() + 0.2);
}

TEST(ExpertMemory, StatsSayWhatStreamingCost) {
  std::vector<std::string> asked = {"run",
                                    checkpoint_path("olmoe"),
                                    "--ids",
                                    "5,17,40",
                                    "-n",
                                    "20",
                                    "--temp",
                                    "0",
                                    "--stats",
                                    "--json",
                                    "--prefetch",
                                    "none",
                                    "--expert-memory",
                                    "100KB"};
  const Ran ran = run_junto(asked);
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json figures = Json::parse(ran.out)["streaming"];
  EXPECT_GT(figures["misses"], 0);
  EXPECT_GT(figures["stall_s"], 0.0);
  EXPECT_EQ(figures["prefetch_hits"], 0);
  EXPECT_EQ(figures["late_prefetches"], 0);
  EXPECT_EQ(figures["wasted_prefetches"], 0);
  EXPECT_GT(figures["disk_bytes_per_s"], 0.0);
  EXPECT_GT(figures["share_of_disk"], 0.0);
  // No policy that reads only what is asked for has more in memory.
  EXPECT_GE(figures["belady_hit_ratio"], figures["hit_ratio"]);
  EXPECT_LT(figures["belady_hit_ratio"], 1.0);
  for (const char* row :
       {"Belady's share of the same", "demand misses", "bytes read", "bytes per second that the disk gives",
        "share of that", "seconds stalled", "prefetched in time", "prefetched late", "prefetched for nothing"}) {
    EXPECT_NE(ran.err.find(row), std::string::npos) << row;
  }
  asked.resize(asked.size() - 2);
  EXPECT_NE(run_junto(asked).err.find("stays in memory: nothing is streamed"), std::string::npos);
}

}  // namespace
}  // namespace junto
