#include "analyze/gallery.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace junto {
namespace {

Json run_of(double loss) {
  return {{"seed", 1},
          {"flops", 2e9},
          {"seconds", 3.0},
          {"tune", {{"step", {1, 2}}, {"flops", {1e9, 2e9}}, {"bits_per_byte", {8.0, loss}}}},
          {"metrics", {{"bits_per_byte", loss}, {"flops", 2e9}}}};
}

Json result_of(const std::string& mode) {
  return {
      {"version", 1},
      {"slug", "x"},
      {"title", "X <b>"},
      {"paper", "arXiv 1234.56789"},
      {"about", "a & b"},
      {"mode", mode},
      {"declared", std::string(64, 'a')},
      {"commit", "c0ffee"},
      {"machine", {{"compiler", "gcc"}, {"blas", "OpenBLAS"}, {"processor", "CPU"}, {"threads", 1}}},
      {"texts", {{{"file", "a.txt"}, {"sha256", std::string(64, 'b')}}}},
      {"seconds", 60.0},
      {"flops", 1e12},
      {"arms",
       {{{"name", "old"}, {"about", "o"}, {"learning_rate", 0.1}, {"runs", {run_of(2.0), run_of(2.1), run_of(2.2)}}},
        {{"name", "new"}, {"about", "n"}, {"learning_rate", 0.1}, {"runs", Json::array()}}}},
      {"claims",
       {{{"name", "c"},
         {"text", "new <is> better"},
         {"verdict", "not tested"},
         {"why", "fewer"},
         {"metric", "bits_per_byte"},
         {"arm", "new"},
         {"against", "old"},
         {"margin", 0.1},
         {"adjusted_p", 1.0},
         {"interval", {{"mean", 0.0}, {"low", nullptr}, {"high", nullptr}, {"count", 0}}}}}}};
}

TEST(Gallery, SmokeRunsAndOtherFilesAreRefused) {
  EXPECT_NO_THROW(check_result(result_of("full"), "x.json"));
  EXPECT_THROW(check_result(result_of("smoke"), "x.json"), Error);
  EXPECT_THROW(check_result(Json{{"version", 1}}, "x.json"), Error);
  EXPECT_THROW(check_result(Json::array(), "x.json"), Error);
}

TEST(Gallery, NothingComesFromElsewhereAndWordsAreNoMarkup) {
  const std::string page = gallery_page({result_of("full")});
  EXPECT_NE(page.find("new &lt;is&gt; better"), std::string::npos);
  EXPECT_NE(page.find("X &lt;b&gt;"), std::string::npos);
  EXPECT_EQ(page.find("X <b>"), std::string::npos);
  for (const char* loads : {" src=", "<link", "@import", "url("})
    EXPECT_EQ(page.find(loads), std::string::npos) << loads;
  EXPECT_NE(page.find("class=\"not-tested\""), std::string::npos);
  EXPECT_NE(page.find("https://arxiv.org/abs/1234.56789"), std::string::npos);
}

TEST(Gallery, RowsOfExpertsWithWeightsTakeThePlaceOfExperts) {
  Json result = result_of("full");
  Json& metrics = result["arms"][0]["runs"][0]["metrics"];
  metrics["experts_per_token"] = 7.25;
  EXPECT_NE(gallery_page({result}).find(">7.25<"), std::string::npos);
  metrics["rows_per_token"] = 3.5;
  const std::string page = gallery_page({result});
  EXPECT_NE(page.find(">3.5<"), std::string::npos);
  EXPECT_EQ(page.find(">7.25<"), std::string::npos);
}

TEST(Gallery, LossesAreDrawnWithTheirInterval) {
  const std::string picture = loss_picture(result_of("full"));
  EXPECT_NE(picture.find("<polygon"), std::string::npos);
  EXPECT_NE(picture.find(">old</text>"), std::string::npos);
  EXPECT_EQ(picture.find(">new</text>"), std::string::npos);  // it has not run
  EXPECT_EQ(metric_picture(result_of("full"), "max_violation"), "");
  EXPECT_EQ(metric_picture(result_of("full"), "bits_per_byte"), "");  // one arm: nothing to compare
  Json two = result_of("full");
  two["arms"][1]["runs"] = Json::array({run_of(1.9)});
  EXPECT_NE(metric_picture(two, "bits_per_byte").find(">new</text>"), std::string::npos);
}

}  // namespace
}  // namespace junto
