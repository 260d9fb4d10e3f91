#include "train/loop/event_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "format/test_directory.h"

namespace junto {
namespace {

// RFC 3720, B.4: 32 bytes of zeros, of ones, ascending.
TEST(Crc32c, TheStandardsExamples) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending += static_cast<char>(i);
  EXPECT_EQ(crc32c(ascending), 0x46DD794Eu);
}

void write_steps(const std::string& path, std::int64_t last, std::int64_t from, std::int64_t to) {
  EventFile file(path, last);
  for (std::int64_t step = from; step <= to; ++step) {
    file.add_scalars(step, 1000.5,
                     std::vector<std::pair<std::string_view, double>>{{"loss", 1.0 / double(step)}, {"rate", -2.5}});
    file.add_histogram(step, 1000.5, "experts/layer0", {.counts = {1, 0, double(step)}});
  }
}

TEST(EventFile, WhatIsWrittenIsReadBack) {
  const TestDirectory directory;
  const std::string path = directory.path("events.out.tfevents.1");
  write_steps(path, 0, 1, 300);
  const std::vector<EventValue> values = read_event_file(path);
  ASSERT_EQ(values.size(), 900u);
  EXPECT_EQ(values[3 * 199].step, 200);
  EXPECT_EQ(values[3 * 199].tag, "loss");
  EXPECT_FLOAT_EQ(static_cast<float>(values[3 * 199].value), 1.0f / 200.0f);
  EXPECT_EQ(values[3 * 199 + 1].value, -2.5);
  EXPECT_EQ(values[3 * 199 + 2].tag, "experts/layer0");
  EXPECT_EQ(values[3 * 199 + 2].buckets, (std::vector<double>{1, 0, 200}));
}

TEST(EventFile, GoingOnDropsLaterStepsAndACutEnd) {
  const TestDirectory directory;
  const std::string whole = directory.path("whole"), resumed = directory.path("resumed");
  write_steps(whole, 0, 1, 9);
  write_steps(resumed, 0, 1, 7);
  std::filesystem::resize_file(resumed, std::filesystem::file_size(resumed) - 5);
  write_steps(resumed, 4, 5, 9);
  EXPECT_EQ(read_text_file(whole, 1 << 20), read_text_file(resumed, 1 << 20));
}

TEST(EventFile, DamageIsNamed) {
  const TestDirectory directory;
  const std::string path = directory.path("file");
  write_steps(path, 0, 1, 2);
  const std::string good = read_text_file(path, 1 << 20);
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    EXPECT_NE(error_of([&] { read_event_file(directory.put("bad", bad)); }).find("the record at byte "),
              std::string::npos)
        << at;
  }
}

}  // namespace
}  // namespace junto
