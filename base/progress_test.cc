#include "base/progress.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>
#include <vector>

namespace junto {
namespace {

// A stream into memory and a clock that is set by hand.
struct Screen {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* file = open_memstream(&text, &size);
  double now_s = 1000;
  std::function<double()> clock = [this] { return now_s; };

  std::string str() {
    std::fflush(file);
    return std::string(text, size);
  }
  ~Screen() {
    std::fclose(file);
    std::free(text);
  }
};

TEST(Progress, QuantitiesHaveThreeDigitsAndAPrefix) {
  EXPECT_EQ(format_quantity(0, "B"), "0 B");
  EXPECT_EQ(format_quantity(640, "tokens"), "640 tokens");
  EXPECT_EQ(format_quantity(999.4, "B"), "999 B");
  EXPECT_EQ(format_quantity(999.6, "B"), "1.00 kB");
  EXPECT_EQ(format_quantity(12345, "tokens"), "12.3k tokens");
  EXPECT_EQ(format_quantity(1.5314e9, "B"), "1.53 GB");
  EXPECT_EQ(format_quantity(2000, ""), "2.00k");
  EXPECT_EQ(format_quantity(3.14159, "tensors"), "3.14 tensors");
  EXPECT_EQ(format_quantity(5e20, "B"), "500000 PB");
}

TEST(Progress, DurationsAreClockTimes) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(760), "12:40");
  EXPECT_EQ(format_duration(3 * 3600 + 5 * 60), "3:05:00");
  EXPECT_EQ(format_duration(-1), "0:00");
  EXPECT_EQ(format_duration(1e300), "277777777:46:40");
}

TEST(Progress, LineHasShareRateAndTimeLeft) {
  EXPECT_EQ(format_progress("quantise", 50'000'000, 200'000'000, "B", 0.5),
            "quantise  25 %  50.0 MB of 200 MB  100 MB/s  0:02 left");
  EXPECT_EQ(format_progress("read", 10, 0, "files", 2), "read  10 files  5 files/s");
  EXPECT_EQ(format_progress("read", 0, 4, "files", 0), "read  0 %  0 of 4 files");
  EXPECT_EQ(format_progress("read", 1999, 2000, "rows", 1), "read  99 %  2.00k of 2.00k rows  2.00k rows/s  0:00 left");
  EXPECT_EQ(format_progress("more than said", 5, 4, "rows", 1), "more than said  100 %  5 of 4 rows  5 rows/s");
}

TEST(Progress, LineStyleRedrawsTenTimesASecondAndEndsTheLine) {
  Screen screen;
  {
    Progress progress("work", 4, "steps", ProgressStyle::kLine, screen.file, screen.clock);
    for (int step = 0; step < 4; ++step) {
      screen.now_s += 0.0625;
      progress.advance();
    }
  }
  EXPECT_EQ(screen.str(),
            "\rwork  50 %  2 of 4 steps  16 steps/s  0:00 left\x1b[K"
            "\rwork  100 %  4 of 4 steps  16 steps/s\x1b[K"
            "\rwork  100 %  4 of 4 steps  16 steps/s\x1b[K\n");
}

TEST(Progress, PlainStyleWaitsFiveSecondsAndUsesWholeLines) {
  Screen screen;
  {
    Progress progress("work", 100, "steps", ProgressStyle::kPlain, screen.file, screen.clock);
    for (int step = 0; step < 100; ++step) {
      screen.now_s += 0.125;
      progress.advance();
    }
  }
  EXPECT_EQ(screen.str(),
            "work  40 %  40 of 100 steps  8 steps/s  0:08 left\n"
            "work  80 %  80 of 100 steps  8 steps/s  0:03 left\n"
            "work  100 %  100 of 100 steps  8 steps/s\n");
}

TEST(Progress, ShortOrSilentWorkPrintsNothing) {
  Screen screen;
  {
    Progress quick("quick", 2, "steps", ProgressStyle::kLine, screen.file, screen.clock);
    quick.advance(2);
    Progress silent("silent", 2, "steps", ProgressStyle::kSilent, screen.file, screen.clock);
    screen.now_s += 100;
    silent.advance(2);
  }
  EXPECT_EQ(screen.str(), "");
}

TEST(Progress, AutomaticStyleIsPlainWhereThereIsNoTerminalAndFollowsTheDefault) {
  for (const auto style : {ProgressStyle::kAuto, ProgressStyle::kSilent}) {
    testing::internal::CaptureStderr();  // a file
    set_default_progress_style(style);
    double now_s = 0;
    {
      Progress progress("work", 2, "steps", ProgressStyle::kAuto, stderr, [&] { return now_s; });
      now_s = 10;
      progress.advance();
    }
    set_default_progress_style(ProgressStyle::kAuto);
    const std::string line = "work  50 %  1 of 2 steps  0.10 steps/s  0:10 left\n";
    EXPECT_EQ(testing::internal::GetCapturedStderr(), style == ProgressStyle::kAuto ? line + line : "");
  }
}

TEST(Progress, ThreadsCountTogether) {
  Screen screen;
  std::atomic<int> ticks{0};
  {
    Progress progress("work", 4000, "steps", ProgressStyle::kPlain, screen.file, [&] { return ++ticks * 0.01; });
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int step = 0; step < 1000; ++step) progress.advance();
      });
    }
    for (auto& thread : threads) thread.join();
  }
  EXPECT_NE(screen.str().find("work  100 %  4.00k of 4.00k steps"), std::string::npos) << screen.str();
}

}  // namespace
}  // namespace junto
