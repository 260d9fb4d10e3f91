#include "train/loop/export_huggingface.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "compress/synth_tokenizer.h"
#include "format/test_directory.h"
#include "train/loop/test_logits.h"

namespace junto {
namespace {

TokenText bytes() {
  TokenText text;
  text.vocabulary = kByteVocabulary;
  text.end_of_text = 256;
  text.tokenizer = byte_tokenizer();
  return text;
}

TEST(ExportHuggingface, TheEngineReadsTheDirectoryWithTheTrainersLogits) {
  const TestDirectory directory;
  std::vector<std::pair<std::string, LanguageModelShape>> shapes(6, {"qwen3_moe", small_shape()});
  shapes[1].second.router.weigh = Weigh::kRaw;
  shapes[1].second.dense_layers = 1;
  shapes[1].second.dense_width = 40;
  shapes[1].second.tied_embeddings = false;
  shapes[2].first = "mixtral";
  shapes[2].second.qk_norm = false;
  shapes[3].first = "qwen3";
  shapes[3].second.dense_layers = 3;
  shapes[3].second.dense_width = 40;
  shapes[4] = shapes[3];
  shapes[4].first = "llama";
  shapes[4].second.qk_norm = false;
  shapes[5].second.routed_layers = {1};
  shapes[5].second.dense_width = 40;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    SCOPED_TRACE(shapes[i].first + " " + std::to_string(i));
    LanguageModel model(shapes[i].second, 3);
    spread_weights(model);
    const std::string folder = directory.path(std::to_string(i));
    export_huggingface(model, bytes(), folder);
    EXPECT_EQ(parse_json(read_text_file(folder + "/config.json", 1 << 20), folder)["model_type"], shapes[i].first);
    expect_equal_logits(model, folder);
    EXPECT_EQ(load_tokenizer(open_checkpoint(folder))->encode("caf\xC3\xA9", true),
              (std::vector<std::int32_t>{256, 'c', 'a', 'f', 0xC3, 0xA9}));
  }
}

TEST(ExportHuggingface, RefusesWhatNoArchitectureComputes) {
  const TestDirectory directory;
  LanguageModelShape shape = small_shape();
  shape.shared_width = 16;
  EXPECT_NE(error_of([&] {
              export_huggingface(LanguageModel(shape, 1), bytes(), directory.path("a"));
            }).find("shared expert"),
            std::string::npos);
  shape = small_shape();
  shape.router.select = TopP{.p = 0.6f};
  EXPECT_NE(error_of([&] { export_huggingface(LanguageModel(shape, 1), bytes(), directory.path("b")); }).find("top_p"),
            std::string::npos);
}

}  // namespace
}  // namespace junto
