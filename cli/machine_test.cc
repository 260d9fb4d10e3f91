#include "cli/machine.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

TEST(Machine, HasMemory) {
  EXPECT_GT(available_memory_bytes(), 1 << 20);
  EXPECT_GT(resident_memory_bytes(), 1 << 20);
}

TEST(Machine, ReadsMemoryAtAPlausibleSpeed) {
  ThreadPool pool(1);
  const double bytes_per_s = ReadProbe(pool).measure(0.01);
  EXPECT_GT(bytes_per_s, 1e8);
  EXPECT_LT(bytes_per_s, 1e12);
}

TEST(Machine, RemembersWhatItMeasured) {
  const Scratch scratch;
  const char* former = std::getenv("JUNTO_CACHE");
  const std::string kept = former != nullptr ? former : "";
  setenv("JUNTO_CACHE", scratch.path("cache").c_str(), 1);
  ThreadPool pool(1);
  const double first = read_bandwidth(pool);
  const std::string path = scratch.path("cache/limits.json");
  Json limits = Json::parse(contents(path));
  ASSERT_EQ(limits.size(), 1u);
  Json& entry = limits.begin().value();
  EXPECT_EQ(entry["read_bytes_per_s"], first);
  entry["read_bytes_per_s"] = 123.0;
  scratch.put("cache/limits.json", limits.dump());
  EXPECT_EQ(read_bandwidth(pool), 123.0);
  entry["measured_at"] = 0.0;  // long ago: measured anew, and the best of the day kept
  scratch.put("cache/limits.json", limits.dump());
  EXPECT_GT(read_bandwidth(pool), 1e8);
  entry["read_bytes_per_s"] = 1e15;
  scratch.put("cache/limits.json", limits.dump());
  EXPECT_EQ(read_bandwidth(pool), 1e15);
  entry["best_at"] = 0.0;
  scratch.put("cache/limits.json", limits.dump());
  EXPECT_LT(read_bandwidth(pool), 1e15);
  for (const char* damaged : {"[]", "{"}) {
    scratch.put("cache/limits.json", damaged);
    EXPECT_GT(read_bandwidth(pool), 1e8) << damaged;
  }
  former != nullptr ? setenv("JUNTO_CACHE", kept.c_str(), 1) : unsetenv("JUNTO_CACHE");
}

}  // namespace
}  // namespace junto
