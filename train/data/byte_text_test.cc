#include "train/data/byte_text.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "format/test_directory.h"

namespace junto {
namespace {

std::string documents(int from, int to) {
  std::string text;
  for (int d = from; d < to; ++d) text += "document number " + std::to_string(d) + "\n\n";
  return text;
}

TEST(ByteText, DocumentsAreParted) {
  const TestDirectory directory;
  const ByteText text = read_byte_text(
      {.files = {directory.put("a", "one\n\n\n\ntwo\xFF")}, .separator = "\n\n", .validation_share = 0}, 4);
  EXPECT_EQ(text.train_documents, 2);
  EXPECT_EQ(text.train, (std::vector<std::int16_t>{'o', 'n', 'e', 256, 't', 'w', 'o', 255, 256}));
}

// A document that validates must not come to be trained on because another file was added.
TEST(ByteText, ADocumentsPartDependsOnItsTextAlone) {
  const TestDirectory directory;
  const std::string less = directory.put("less", documents(0, 100)), more = directory.put("more", documents(100, 300));
  const ByteTextOptions options{.files = {less}, .separator = "\n\n", .validation_share = 0.3f};
  ByteTextOptions both = options;
  both.files = {more, less};
  const ByteText a = read_byte_text(options, 4), b = read_byte_text(both, 4);
  EXPECT_NEAR(static_cast<double>(a.validation_documents), 30, 20);
  EXPECT_TRUE(std::equal(a.validation.rbegin(), a.validation.rend(), b.validation.rbegin()));
  EXPECT_EQ(a.train_documents + a.validation_documents, 100);
}

TEST(ByteText, ABatchFollowsFromSeedAndStepAlone) {
  std::vector<std::int16_t> text(1000);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<std::int16_t>(i % 257);
  std::set<std::int64_t> begins;
  for (std::int64_t step = 0; step < 50; ++step) {
    const TokenBatch batch = draw_batch(text, 3, 7, 9, step), again = draw_batch(text, 3, 7, 9, step);
    EXPECT_TRUE(at::equal(batch.inputs, again.inputs));
    EXPECT_TRUE(at::equal((batch.inputs + 1).remainder(257), batch.targets));  // each target is the next token
    for (int row = 0; row < 3; ++row) begins.insert(batch.inputs[row][0].item<std::int64_t>());
  }
  EXPECT_GT(begins.size(), 80u);
  EXPECT_FALSE(at::equal(draw_batch(text, 3, 7, 9, 0).inputs, draw_batch(text, 3, 7, 10, 0).inputs));
}

TEST(ByteText, SpansCoverTheTextOnce) {
  std::vector<std::int16_t> text(31);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<std::int16_t>(i);
  const TokenBatch batch = span_batch(text, 1, 10, 10);
  EXPECT_EQ(batch.inputs.size(0), 2);
  EXPECT_EQ(batch.inputs[0][0].item<std::int64_t>(), 10);
  EXPECT_EQ(batch.targets[1][9].item<std::int64_t>(), 30);
  EXPECT_EQ(span_batch(text, 3, 10, 10).inputs.numel(), 0);
}

TEST(ByteText, ErrorsNameTheFileAndWhatIsMissing) {
  const TestDirectory directory;
  const std::string file = directory.put("short", "abc");
  EXPECT_NE(error_of([&] {
              read_byte_text({.files = {file}, .separator = {}, .validation_share = 0}, 9);
            }).find("training text has 4 tokens, expected more than 9"),
            std::string::npos);
  EXPECT_NE(error_of([&] { read_byte_text({.files = {directory.path("none")}, .separator = {}}, 9); }).find("none"),
            std::string::npos);
  EXPECT_NE(error_of([] {
              parse_byte_text(Json{{"files", "a.txt"}}, "r.json");
            }).find("r.json: data: files is \"a.txt\", expected a list"),
            std::string::npos);
}

}  // namespace
}  // namespace junto
