#include "cli/prompt_chunk.h"

#include <gtest/gtest.h>

#include "cli/test_program.h"
#include "model/working_memory.h"

namespace junto {
namespace {

TEST(PromptChunk, IsAsLongAsReadingTakesAndAsMemoryAllows) {
  EXPECT_EQ(choose_prompt_chunk(0, 0.01, 4096), kPromptChunk);  // nothing is read
  EXPECT_EQ(choose_prompt_chunk(1, 0.01, 4096), kPromptChunk);  // read while 100 rows compute
  EXPECT_EQ(choose_prompt_chunk(16, 0.01, 4096), 2016);         // 1.25 * 1600, in steps of 32
  EXPECT_EQ(choose_prompt_chunk(16, 0.01, 1024), 1024);         // memory is short
  EXPECT_EQ(choose_prompt_chunk(1, 0.01, 96), 96);              // very short
  EXPECT_EQ(choose_prompt_chunk(1e9, 1e-9, 1 << 20), 8192);     // no more than that
  EXPECT_EQ(choose_prompt_chunk(1, 0, 4096), kPromptChunk);     // nothing was measured
}

TEST(PromptChunk, RowsFitIntoTheMemoryThatTheyAreGiven) {
  const std::shared_ptr<Model> model = load_model(checkpoint_path("olmoe"));
  for (const std::int64_t bytes : {std::int64_t{2} << 20, std::int64_t{8} << 20}) {
    const int rows = rows_that_fit(*model, ActivationType::kQ8, 2, bytes);
    EXPECT_GT(rows, 32);
    EXPECT_LE(working_bytes(*model, ActivationType::kQ8, rows, 2), bytes);
    EXPECT_GT(working_bytes(*model, ActivationType::kQ8, rows + 32, 2), bytes);
  }
  EXPECT_EQ(rows_that_fit(*model, ActivationType::kQ8, 2, 1), 32);
  ThreadPool pool(2);
  const double once = measure_row_s(*model, pool, ActivationType::kQ8, 1'000'000);
  EXPECT_GT(once, 0);
  EXPECT_LT(once, 1);
}

TEST(PromptChunk, ASlowDiskMakesItLongAndTokensStayTheSame) {
  const std::vector<std::string> asked = {
      "run",          checkpoint_path("olmoe"), "--ids", "5,17,40,9,11,300,22,8", "-n", "6", "--temp", "0", "--json",
      "--ignore-eos", "--expert-memory",        "100KB"};
  const auto ran = [&](const std::vector<std::string>& more) { return json_of_run(asked, more); };
  const Json fast = ran({}), slow = ran({"--disk-limit", "2MB/s"}), given = ran({"--chunk", "3"});
  EXPECT_GE(fast["streaming"]["prompt_chunk"], kPromptChunk);
  EXPECT_GT(slow["streaming"]["prompt_chunk"], kPromptChunk);
  EXPECT_EQ(given["streaming"]["prompt_chunk"], 3);
  EXPECT_EQ(slow["ids"], fast["ids"]);
  EXPECT_EQ(given["ids"], fast["ids"]);
}

}  // namespace
}  // namespace junto
