#include "cli/expert_memory.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/test_program.h"

namespace junto {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

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
  EXPECT_EQ(choose_expert_memory(automatic, model, 16 * kGiB, "m"), 0);        // fits twice
  EXPECT_GE(choose_expert_memory(automatic, model, 5 * kGiB, "m"), 3 * kGiB);  // fits once: all in slots
  const std::int64_t small = choose_expert_memory(automatic, model, 2 * kGiB, "m");
  EXPECT_GT(small, kGiB / 2);
  EXPECT_LT(small, kGiB);
  EXPECT_EQ(choose_expert_memory(automatic, {.all = 4 * kGiB, .experts = 0}, 2 * kGiB, "m"), 0);
  try {
    choose_expert_memory(automatic, model, kGiB, "m.gguf");
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

TEST(ExpertMemory, StatsSayWhatStreamingCost) {
  std::vector<std::string> asked = {
      "run",    checkpoint_path("olmoe"), "--ids", "5,17,40", "-n", "20", "--temp", "0", "--stats",
      "--json", "--expert-memory",        "100KB"};
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
