#include "train/data/token_text.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "format/test_directory.h"

namespace junto {
namespace {

std::string documents(int from, int to) {
  std::string text;
  for (int d = from; d < to; ++d) text += "document number " + std::to_string(d) + "\n\n";
  return text;
}

TEST(TokenText, DocumentsAreParted) {
  const TestDirectory directory;
  const TokenText text = read_token_text(
      {.files = {directory.put("a", "one\n\n\n\ntwo\xFF")}, .separator = "\n\n", .validation_share = 0}, 4);
  EXPECT_EQ(text.train_documents, 2);
  EXPECT_EQ(text.train, (TokenIds{'o', 'n', 'e', 256, 't', 'w', 'o', 255, 256}));
}

// A document that validates must not come to be trained on because another file was added.
TEST(TokenText, ADocumentsPartDependsOnItsTextAlone) {
  const TestDirectory directory;
  const std::string less = directory.put("less", documents(0, 100)), more = directory.put("more", documents(100, 300));
  const TokenTextOptions options{.files = {less}, .separator = "\n\n", .validation_share = 0.3f};
  TokenTextOptions both = options;
  both.files = {more, less};
  const TokenText a = read_token_text(options, 4), b = read_token_text(both, 4);
  EXPECT_NEAR(static_cast<double>(a.validation_documents), 30, 20);
  EXPECT_TRUE(std::equal(a.validation.rbegin(), a.validation.rend(), b.validation.rbegin()));
  EXPECT_EQ(a.train_documents + a.validation_documents, 100);
}

std::string decoded(const Tokenizer& tokenizer, const TokenIds& ids) {
  return tokenizer.decode(ids, /*skip_special=*/false);
}

TEST(TokenText, ABpeIsTrainedOnTheTrainingDocumentsAndSpeaksAllOfThem) {
  const TestDirectory directory;
  TokenTextOptions options{
      .files = {directory.put("a", documents(0, 200))}, .separator = "\n\n", .validation_share = 0.3f};
  const TokenText bytes = read_token_text(options, 4);
  options.vocabulary = 280;
  const TokenText text = read_token_text(options, 4);
  EXPECT_EQ(text.vocabulary, 280);
  EXPECT_EQ(text.train_bytes, bytes.train_bytes);
  EXPECT_LT(text.train.size() * 2, bytes.train.size());
  EXPECT_EQ(std::count(text.train.begin(), text.train.end(), text.end_of_text), text.train_documents);
  const Tokenizer tokenizer = load_tokenizer_json(text.tokenizer_json, "trained");
  EXPECT_TRUE(decoded(tokenizer, text.validation).starts_with("document number "));
  EXPECT_EQ(text.tokenizer.bos_id, text.end_of_text);
  EXPECT_EQ(text.tokenizer.pre, "gpt-2");
  // Other training documents, another tokenizer.
  options.files.push_back(directory.put("b", "zzz zzz zzz zzz zzz"));
  options.validation_share = 0.0f;
  EXPECT_NE(read_token_text(options, 4).tokenizer_json, text.tokenizer_json);
  // The file that was trained, given as a file, is the same tokenizer.
  options.files.pop_back();
  options.validation_share = 0.3f;
  options.vocabulary = 0;
  options.tokenizer = directory.put("tokenizer.json", text.tokenizer_json);
  EXPECT_EQ(read_token_text(options, 4).train, text.train);
  options.end_of_text = "<eot>";
  EXPECT_NE(error_of([&] { read_token_text(options, 4); }).find("has no token <eot>"), std::string::npos);
}

TEST(TokenText, APublishedTokenizerReadsTheText) {
  const TestDirectory directory;
  const TokenText text =
      read_token_text({.files = {directory.put("a", "Hello world\fHello <|im_end|>")},
                       .separator = "\f",
                       .validation_share = 0,
                       .tokenizer = JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/llama/tokenizer.json"},
                      4);
  const Tokenizer tokenizer = load_tokenizer_json(text.tokenizer_json, "given");
  EXPECT_EQ(text.vocabulary, tokenizer.vocab_size());
  EXPECT_EQ(text.train_documents, 2);
  // Control tokens spelled out in a text are text.
  EXPECT_EQ(std::count(text.train.begin(), text.train.end(), *tokenizer.id_of("<|im_end|>")),
            text.end_of_text == *tokenizer.id_of("<|im_end|>") ? 2 : 0);
}

TEST(TokenText, ARecordOfJsonLinesOrCsvIsADocument) {
  const TestDirectory directory;
  const std::string lines = directory.put("a.jsonl", "{\"text\": \"one\\n\\nlong\"}\n{\"text\": \"\"}\n"),
                    table = directory.put("b.csv", "id,body\r\n1,\"t,\nwo\"\r\n");
  const Json data = {{"files", Json::array({lines, {{"path", table}, {"column", "body"}}})},
                     {"separator", "\n\n"},
                     {"validation_share", 0}};
  const TokenText text = read_token_text(parse_token_text(data, "r.json"), 4);
  EXPECT_EQ(text.train_documents, 2);
  EXPECT_EQ(text.train, (TokenIds{'o', 'n', 'e', '\n', '\n', 'l', 'o', 'n', 'g', 256, 't', ',', '\n', 'w', 'o', 256}));
  const auto error = [](Json source) {
    return error_of([&] {
      read_token_text(
          parse_token_text({{"files", Json::array({std::move(source)})}, {"validation_share", 0}}, "r.json"), 4);
    });
  };
  EXPECT_NE(error(table).find("b.csv: has no column text, expected one of id, body"), std::string::npos);
  EXPECT_NE(error({{"path", lines}, {"field", "body"}}).find("a.jsonl: line 1: body is missing"), std::string::npos);
  EXPECT_NE(error({{"path", table}, {"field", "body"}}).find("files[0]: field is set, expected it with format jsonl"),
            std::string::npos);
  EXPECT_NE(error({{"path", lines}, {"format", "text"}, {"field", "a"}}).find("field is set"), std::string::npos);
  EXPECT_EQ(error({{"path", lines}, {"format", "text"}}), "no error");
  EXPECT_NE(error({{"pat", lines}}).find("path is missing"), std::string::npos);
  EXPECT_NE(error(5).find("files[0]: is 5"), std::string::npos);
  TokenTextOptions options{.files = {lines}, .separator = {}, .validation_share = 0};
  options.max_bytes = 10;
  EXPECT_NE(error_of([&] { read_token_text(options, 4); }).find("a.jsonl"), std::string::npos);
}

TEST(TokenText, ABatchFollowsFromSeedAndStepAlone) {
  TokenIds text(1000);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<std::int32_t>(i % 257);
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

TEST(TokenText, SpansCoverTheTextOnce) {
  TokenIds text(31);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<std::int32_t>(i);
  const TokenBatch batch = span_batch(text, 1, 10, 10);
  EXPECT_EQ(batch.inputs.size(0), 2);
  EXPECT_EQ(batch.inputs[0][0].item<std::int64_t>(), 10);
  EXPECT_EQ(batch.targets[1][9].item<std::int64_t>(), 30);
  EXPECT_EQ(span_batch(text, 3, 10, 10).inputs.numel(), 0);
}

TEST(TokenText, ErrorsNameTheFileAndWhatIsMissing) {
  const TestDirectory directory;
  const std::string file = directory.put("short", "abc");
  EXPECT_NE(error_of([&] {
              read_token_text({.files = {file}, .separator = {}, .validation_share = 0}, 9);
            }).find("training text has 4 tokens, expected more than 9"),
            std::string::npos);
  EXPECT_NE(error_of([&] { read_token_text({.files = {directory.path("none")}, .separator = {}}, 9); }).find("none"),
            std::string::npos);
  EXPECT_NE(
      error_of([&] { read_token_text({.files = {"cache:none.txt"}, .separator = {}}, 9); }).find("scripts/fetch-data"),
      std::string::npos);
  EXPECT_NE(error_of([] {
              parse_token_text(Json{{"files", {"a"}}, {"vocabulary", 300}, {"tokenizer", "b"}}, "r.json");
            }).find("data: vocabulary is set, expected nothing beside a tokenizer"),
            std::string::npos);
  EXPECT_NE(error_of([] {
              parse_token_text(Json{{"files", "a.txt"}}, "r.json");
            }).find("r.json: data: files is \"a.txt\", expected a list"),
            std::string::npos);
}

}  // namespace
}  // namespace junto
