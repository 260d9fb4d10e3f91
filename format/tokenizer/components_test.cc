// Every component against `tokenizers` (scripts/record-tokenizers.py).
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "format/tokenizer/load_components.h"
#include "format/tokenizer/unicode.h"

namespace junto::text {
namespace {

Json recorded() {
  std::ifstream file(JUNTO_SOURCE_DIR "/testdata/tokenizers/components.json");
  return Json::parse(file);
}

TEST(TokenizerComponents, NormalizersMakeTheRecordedTexts) {
  const Json data = recorded()["normalizers"];
  ASSERT_GE(data.size(), 15u);
  for (const Json& one : data) {
    std::vector<NormalizerStep> steps;
    load_normalizer(Field{one["spec"], "test", "normalizer"}, steps);
    for (const Json& pair : one["cases"]) {
      const std::string in = pair[0];
      EXPECT_EQ(normalize(steps, in, Deadline(in.size()), "test"), pair[1].get<std::string>())
          << one["spec"] << " on " << pair[0];
    }
  }
}

TEST(TokenizerComponents, PreTokenizersMakeTheRecordedPieces) {
  const Json data = recorded()["pre_tokenizers"];
  ASSERT_GE(data.size(), 60u);
  for (const Json& one : data) {
    std::vector<PreTokenizerStep> steps;
    load_pre_tokenizer(Field{one["spec"], "test", "pre_tokenizer"}, steps);
    for (const Json& pair : one["cases"]) {
      const std::string in = pair[0];
      Pieces pieces{in, {{0, in.size(), true}}};
      pre_tokenize(steps, Deadline(in.size()), pieces);
      std::vector<std::string> found;
      for (const auto& piece : pieces.pieces) found.emplace_back(pieces.view(piece));
      EXPECT_EQ(found, pair[1].get<std::vector<std::string>>()) << one["spec"] << " on " << pair[0];
    }
  }
}

TEST(TokenizerComponents, DecodersMakeTheRecordedTexts) {
  const Json data = recorded()["decoders"];
  ASSERT_GE(data.size(), 12u);
  for (const Json& one : data) {
    std::vector<DecoderStep> steps;
    load_decoder(Field{one["spec"], "test", "decoder"}, steps);
    for (const Json& pair : one["cases"]) {
      EXPECT_EQ(decode_tokens(steps, pair[0].get<std::vector<std::string>>()), pair[1].get<std::string>())
          << one["spec"] << " on " << pair[0];
    }
  }
}

std::string error_of(const Json& spec, void (*load)(const Field&)) {
  try {
    load(Field{spec, "t.json", "x"});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(TokenizerComponents, UnknownTypesAreRefusedByName) {
  const auto normalizer = [](const Field& field) {
    std::vector<NormalizerStep> steps;
    load_normalizer(field, steps);
  };
  EXPECT_EQ(error_of({{"type", "Nfq"}}, normalizer), "t.json: x.type is \"Nfq\", expected a normalizer that Junto has");
  const auto pre_tokenizer = [](const Field& field) {
    std::vector<PreTokenizerStep> steps;
    load_pre_tokenizer(field, steps);
  };
  EXPECT_EQ(error_of({{"type", "UnicodeScripts"}}, pre_tokenizer),
            "t.json: x.type is \"UnicodeScripts\", expected a pre-tokenizer that Junto has");
  EXPECT_EQ(error_of({{"type", "Sequence"}, {"pretokenizers", {{{"type", 7}}}}}, pre_tokenizer),
            "t.json: x.pretokenizers[0].type is 7, expected a string");
  const auto decoder = [](const Field& field) {
    std::vector<DecoderStep> steps;
    load_decoder(field, steps);
  };
  EXPECT_EQ(error_of({{"type", "Magic"}}, decoder), "t.json: x.type is \"Magic\", expected a decoder that Junto has");
}

TEST(TokenizerComponents, ReplaceMayNotGrowATextWithoutBound) {
  std::vector<NormalizerStep> steps;
  for (int i = 0; i < 4; ++i) steps.emplace_back(Replace{std::nullopt, "a", std::string(64, 'a')});
  EXPECT_THROW(normalize(steps, std::string(1000, 'a'), Deadline(1000), "test"), Error);
}

TEST(Unicode, LossyUtf8PutsOneReplacementForEachMaximalIllFormedPart) {
  EXPECT_EQ(lossy_utf8("a\xC3\xA9\xFF"), "a\u00E9\uFFFD");
  EXPECT_EQ(lossy_utf8("\xE2\x82"), "\uFFFD");                  // cut short: one part
  EXPECT_EQ(lossy_utf8("\xF0\x9F\x98x"), "\uFFFDx");            // the same in the middle
  EXPECT_EQ(lossy_utf8("\xC0\x80"), "\uFFFD\uFFFD");            // overlong: no byte of it starts a character
  EXPECT_EQ(lossy_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(lossy_utf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
}

TEST(Unicode, NormalFormsOrderLongRunsOfMarksInReasonableTime) {
  std::string text = "a";
  for (int i = 0; i < 200'000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";  // classes 230 and 220
  const std::string form = normal_form(text, NormalForm::kNfd);
  EXPECT_EQ(form.size(), text.size());
  EXPECT_EQ(form.substr(1, 4), "\u0323\u0323");
}

}  // namespace
}  // namespace junto::text
