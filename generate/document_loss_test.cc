#include "generate/document_loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "generate/perplexity.h"

namespace junto {
namespace {

TEST(DocumentLoss, FormFeedsPartDocuments) {
  const std::vector<std::string> expected = {"one\n", "\ntwo"};
  EXPECT_EQ(split_documents("one\n\f\ntwo\f \n"), expected);
  EXPECT_TRUE(split_documents("").empty());
}

TEST(DocumentLoss, EqualDocumentsHaveNoErrorAndUnequalOnesTheErrorOfTheirMeans) {
  const std::vector<DocumentLoss> equal = {{20, 10}, {40, 20}};
  EXPECT_DOUBLE_EQ(mean_loss(equal).nll, 2.0);
  EXPECT_NEAR(mean_loss(equal).standard_error, 0.0, 1e-12);
  // Of one length: the standard error of the mean of 1, 2, 3 is 1 / sqrt(3).
  const std::vector<DocumentLoss> unequal = {{10, 10}, {20, 10}, {30, 10}};
  EXPECT_DOUBLE_EQ(mean_loss(unequal).nll, 2.0);
  EXPECT_NEAR(mean_loss(unequal).standard_error, 1.0 / std::sqrt(3.0), 1e-12);
}

TEST(DocumentLoss, ADocumentOfWholeWindowsIsWhatPerplexityMeasures) {
  ThreadPool pool(2);
  Decoder decoder(load_model(std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/llama"), pool);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 96; ++i) ids.push_back((i * 37) % 384);
  PerplexityOptions whole;
  whole.window = 32;
  const Perplexity expected = measure_perplexity(decoder, nullptr, pool, ids, whole, "ids");
  DocumentOptions options;
  options.window = 32;
  const std::vector<std::vector<std::int32_t>> documents = {ids};
  const MeanLoss found = mean_loss(document_losses(decoder, pool, documents, options));
  EXPECT_EQ(found.tokens, expected.tokens);
  EXPECT_NEAR(found.nll, expected.mean_nll, 1e-9);
}

}  // namespace
}  // namespace junto
