#include "base/log.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace junto {
namespace {

// Collects warnings while it lives.
struct Collected {
  std::vector<std::string> texts;
  WarningSink former = set_warning_sink([this](std::string_view text) { texts.emplace_back(text); });
  ~Collected() { set_warning_sink(former); }
};

TEST(Log, WarnReachesTheSinkEveryTime) {
  Collected collected;
  warn("a.gguf: no tokenizer");
  warn("a.gguf: no tokenizer");
  EXPECT_EQ(collected.texts, (std::vector<std::string>{"a.gguf: no tokenizer", "a.gguf: no tokenizer"}));
}

TEST(Log, WarnOnceSaysEachTextOnceFromAllThreads) {
  Collected collected;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 100; ++i) warn_once("log_test: thread text"), warn_once("log_test: other text");
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(collected.texts.size(), 2u);
}

TEST(Log, WithoutASinkOneLineOnStderr) {
  testing::internal::CaptureStderr();
  warn("b.gguf: odd");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "junto: warning: b.gguf: odd\n");
}

// Last in this file: from here on nothing new is remembered in this process.
TEST(Log, WarnOnceStopsAtAThousandTexts) {
  Collected collected;
  for (int i = 0; i < 5000; ++i) warn_once("log_test: flood " + std::to_string(i));
  EXPECT_GT(collected.texts.size(), 900u);
  EXPECT_LE(collected.texts.size(), 1000u);
}

}  // namespace
}  // namespace junto
