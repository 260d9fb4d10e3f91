#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

// A text of `sentences` different sentences.
std::string text_of(int sentences, int first) {
  const std::vector<std::string> who = {"The printer", "A glazier", "The surveyor", "A joiner", "The merchant"};
  const std::vector<std::string> what = {"asked about", "knew of", "measured", "wrote down", "argued over", "sold"};
  const std::vector<std::string> things = {"paper", "land", "glass", "wood", "a library", "the weather", "ships"};
  std::string text;
  for (int i = first; i < first + sentences; ++i) {
    text += who[i % who.size()] + " " + what[i % what.size()] + " " + things[i % things.size()] + " on day " +
            std::to_string(i) + " of that year.\n";
  }
  return text;
}

TEST(CarveVerb, WritesReportsAndKeepsTestsOutOfTheCalibration) {
  const Scratch scratch;
  const std::string out = scratch.path("moe.gguf"), test = text_of(6, 1000) + "\f" + text_of(6, 1006);
  const std::string calibration = scratch.put("calibration", text_of(120, 0) + text_of(2, 1003));
  const Ran ran =
      run_junto({"carve", checkpoint_path("llama"), out, "--experts", "12", "--shared", "4", "--calibrate", calibration,
                 "--tokens", "1024", "--threads", "1", "--test", scratch.put("test", test), "--report", "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json json = Json::parse(ran.out);
  EXPECT_EQ(json["neurons"], 8);
  EXPECT_EQ(json["router"]["experts"], 8);
  EXPECT_EQ(json["calibration_paragraphs"], 122);
  EXPECT_EQ(json["dropped_paragraphs"], 2);
  EXPECT_EQ(json["shared_runs"], 0);
  // The source; all experts; three quarters and half, each with its rival. A quarter is less than the shared ones.
  const Json& models = json["report"]["models"];
  ASSERT_EQ(models.size(), 6u);
  EXPECT_EQ(models[1]["kind"], "carved");
  EXPECT_EQ(models[1]["active"], 1.0);
  EXPECT_EQ(models[2]["top_k"], 5);
  EXPECT_EQ(models[3]["kind"], "quantised");
  EXPECT_EQ(models[4]["top_k"], 2);
  EXPECT_LT(models[4]["bytes_per_token"], models[2]["bytes_per_token"]);
  EXPECT_EQ(models[0]["all"]["documents"], 2);
  EXPECT_NEAR(models[1]["all"]["perplexity"].get<double>() / models[0]["all"]["perplexity"].get<double>(), 1.0, 0.003);
  EXPECT_EQ(json["report"]["verdicts"].size(), 2u);
  // Nothing but the model stays.
  EXPECT_FALSE(std::filesystem::exists(out + ".quantised.gguf"));

  const Ran inspected = run_junto({"inspect", out, "--json"});
  EXPECT_EQ(inspected.status, 0) << inspected.err;
  EXPECT_NE(inspected.out.find("\"constant\""), std::string::npos) << inspected.out.substr(0, 2000);
  EXPECT_EQ(run_junto({"run", out, "--raw", "-p", "The club", "-n", "3", "--policy", "top_k=1"}).status, 0);
}

TEST(CarveVerb, MisuseIsOneLine) {
  const Scratch scratch;
  const std::string out = scratch.path("moe.gguf"), model = checkpoint_path("llama"), text = scratch.put("t", "Hi.");
  EXPECT_TRUE(refusal_of({"carve", model, out}).starts_with("carve: no calibration text: give one with --calibrate"));
  EXPECT_TRUE(refusal_of({"carve", model, out, "--experts", "12", "--shared", "4", "--calibrate", text})
                  .starts_with("--calibrate: the text has "));
  EXPECT_TRUE(
      refusal_of({"carve", checkpoint_path("mixtral"), out, "--calibrate", text}).ends_with("expected a dense model"));
  EXPECT_EQ(refusal_of({"carve", model, out, "--calibrate", text, "--experts", "12", "--shared", "12"}),
            "--shared: is 12, expected 0..11 with --experts 12");
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace junto
