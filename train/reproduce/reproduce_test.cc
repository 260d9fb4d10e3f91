// junto-train reproduce as users run it, on the smoke runs of the systems that are there.
#include "train/reproduce/reproduce.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "format/test_directory.h"
#include "train/loop/trainer.h"
#include "train/reproduce/measure.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Reproduce : public testing::Test {
 protected:
  /// `slug` and more arguments; standard output and error go to the files out and err.
  int run(const std::string& arguments, const std::string& systems = "systems") const {
    const std::string command = std::string(JUNTO_TRAIN_BINARY) + " reproduce " + arguments + " --systems " +
                                JUNTO_SOURCE_DIR "/" + systems + " --runs " + directory_.path("runs") + " >" +
                                directory_.path("out") + " 2>" + directory_.path("err");
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  Json result(const std::string& slug) const {
    return Json::parse(contents(directory_.path("runs/" + slug + "-smoke/result.json")));
  }
  std::string err() const { return contents(directory_.path("err")); }

  const TestDirectory directory_;
};

TEST_F(Reproduce, EverySystemSmokes) {
  for (const auto& entry : fs::directory_iterator(JUNTO_SOURCE_DIR "/systems")) {
    const std::string slug = entry.path().filename().string();
    ASSERT_EQ(run(slug + " --smoke"), 0) << err();
    const Json found = result(slug);
    EXPECT_EQ(found.at("mode"), "smoke");
    EXPECT_FALSE(found.at("claims").empty());
    for (const Json& claim : found["claims"]) EXPECT_NE(claim.at("verdict"), "not tested") << claim.dump();
    for (const Json& arm : found.at("arms")) {
      EXPECT_EQ(arm.at("runs").size(), 2u) << slug << " " << arm["name"];
      EXPECT_EQ(arm["runs"][0].at("curve").at("loss").size(), 4u);
    }
    EXPECT_TRUE(found.at("noise").at("metrics").contains(found.at("loss_metric").get<std::string>()));
    if (slug != "adaptive-gating") continue;
    const Json metrics = found["arms"][0]["runs"][0]["metrics"];
    EXPECT_GE(metrics.at("training_device_rows"), metrics.at("training_experts_per_token"));
    EXPECT_TRUE(metrics.contains("order_saves"));
    EXPECT_NE(contents(directory_.path("out")).find("training device rows"), std::string::npos);
  }
}

// The table of models/README.md: its tokens are of several bytes.
TEST_F(Reproduce, BitsAreOfBytesWhateverATokenIs) {
  ASSERT_EQ(run("mini-table --smoke", "experiments"), 0) << err();
  const Json trained = result("mini-table").at("arms")[0].at("runs")[0];
  const double bits_a_token = trained.at("curve").at("loss").back().get<double>() / std::log(2.0);
  const double bits_a_byte = trained.at("metrics").at("bits_per_byte");
  EXPECT_GT(bits_a_token, 9.0);  // of 4,096 tokens, after four steps
  EXPECT_GT(bits_a_byte, 0.15 * bits_a_token);
  EXPECT_LT(bits_a_byte, 0.6 * bits_a_token);
}

TEST_F(Reproduce, FinishedRunsAreKeptAndVerifyToTheBit) {
  ASSERT_EQ(run("alf-lb --smoke --arms aux-1e-2,sign-1e-2 --seeds 1"), 0) << err();
  EXPECT_NE(err().find("(2 of 2)"), std::string::npos) << err();
  const Json first = result("alf-lb");
  ASSERT_EQ(run("alf-lb --smoke --arms aux-1e-2,sign-1e-2 --seeds 2"), 0) << err();
  EXPECT_EQ(err().find("seed 1,"), std::string::npos) << err();  // it was kept
  EXPECT_EQ(result("alf-lb").at("arms")[0].at("runs")[0], first.at("arms")[0].at("runs")[0]);
  ASSERT_EQ(run("alf-lb --smoke --verify --arms sign-1e-2"), 0) << err();
  EXPECT_NE(contents(directory_.path("out")).find("the same bits"), std::string::npos);
  // A loss that is another by one bit is found.
  const std::string path = directory_.path("runs/alf-lb-smoke/result.json");
  Json forged = result("alf-lb");
  Json& loss = forged["arms"][1]["runs"][0]["curve"]["loss"][2];
  loss = std::nextafter(loss.get<double>(), 10.0);
  std::ofstream(path) << forged.dump();
  EXPECT_EQ(run("alf-lb --smoke --verify --arms sign-1e-2"), 1) << err();
}

TEST_F(Reproduce, DryRunsCountAndBudgetsStopAtWholeSeeds) {
  ASSERT_EQ(run("alf-lb --smoke --dry-run --arms none"), 0) << err();
  EXPECT_NE(contents(directory_.path("out")).find("FLOP"), std::string::npos);
  EXPECT_FALSE(fs::exists(directory_.path("runs/alf-lb-smoke")));
  ASSERT_EQ(run("alf-lb --smoke --arms none --budget 0.000001s"), 0) << err();
  EXPECT_NE(err().find("the budget ends before seed 1"), std::string::npos) << err();
  EXPECT_TRUE(result("alf-lb").at("arms")[0].at("runs").empty());
}

TEST_F(Reproduce, MistakesAreNamed) {
  EXPECT_EQ(run("alf-lb --smoke --arms nnoe"), 1);
  EXPECT_NE(err().find("has no arm nnoe"), std::string::npos) << err();
  EXPECT_EQ(run("alf-lb --smoke --budget 2d"), 1);
  EXPECT_NE(err().find("expected a time such as 2h"), std::string::npos) << err();
  EXPECT_EQ(run("no-such-system --smoke"), 1);
  EXPECT_NE(err().find("no-such-system"), std::string::npos) << err();
}

/// The smoke experiment of a system, in this process.
Setting setting_of(const std::string& slug, const TestDirectory& directory) {
  return make_setting({.slug = slug,
                       .systems = JUNTO_SOURCE_DIR "/systems",
                       .runs = directory.path("runs"),
                       .out = {},
                       .arms = {},
                       .seeds = {},
                       .budget = {},
                       .smoke = true});
}

TEST(Experiments, ArmsShareInitialValuesAndDataOrder) {
  const TestDirectory directory;
  const Setting setting = setting_of("alf-lb", directory);
  const auto trainer_of = [&](const std::string& arm) {
    return Trainer(
        parse_recipe(recipe_of(setting.experiment, {.arm = arm, .seed = 3}, setting.texts, "/nowhere"), arm));
  };
  Trainer plain = trainer_of("none"), biased = trainer_of("sign-sqrt"), again = trainer_of("again");
  EXPECT_TRUE(plain.model().parameters().values().equal(biased.model().parameters().values()));
  EXPECT_FALSE(plain.model().parameters().values().equal(again.model().parameters().values()));
  // Biases are 0 before the first update: the first losses are one number only where the batches are the same.
  EXPECT_EQ(plain.train_step().loss, biased.train_step().loss);
}

TEST(Experiments, TheTextToTestIsInNoOtherPart) {
  const TestDirectory directory;
  const Setting setting = setting_of("alf-lb", directory);
  for (const DomainText& text : setting.texts) {
    const auto documents = [&](const TokenIds& part) {
      std::vector<TokenIds> out(1);
      for (const std::int32_t token : part) {
        if (token == text.end_of_text) {
          out.emplace_back();
        } else {
          out.back().push_back(token);
        }
      }
      out.pop_back();
      return out;
    };
    const auto tune = documents(text.tune), test = documents(text.test);
    EXPECT_EQ(static_cast<std::int64_t>(test.size()), text.test_documents);
    EXPECT_GT(tune.size(), 1u);
    EXPECT_GT(test.size(), 1u);
    for (const auto& one : test) EXPECT_EQ(std::count(tune.begin(), tune.end(), one), 0);
  }
}

TEST(Experiments, MeasuringIsTheTrainersLossAndCountsEverySlot) {
  const TestDirectory directory;
  const Setting setting = setting_of("dynamic-moe", directory);
  Json recipe = recipe_of(setting.experiment, {.arm = "top-2", .seed = 3}, setting.texts, "/nowhere");
  recipe["run"]["evaluate_spans"] = 5;
  Trainer trainer(parse_recipe(recipe, "recipe"));
  const BatchOptions& batch = trainer.recipe().batch;
  const Measured found = measure(trainer.model(), trainer.text().validation, 5, batch.sequences, batch.length);
  EXPECT_NEAR(found.loss, trainer.evaluate(), 1e-5);
  EXPECT_EQ(found.tokens, 5 * batch.length);
  EXPECT_EQ(experts_per_token(found, 0), 2.0);
  for (const double experts : found.token_experts) EXPECT_EQ(experts, 2.0);
  EXPECT_GE(max_violation(found), 0.0);
}

TEST(Experiments, MaxVioIsOfTheBusiestExpert) {
  Measured measured;
  measured.load = {{4, 0, 2, 2}, {1, 1, 1, 1}};
  EXPECT_DOUBLE_EQ(max_violation(measured), 0.5);  // 4 against a mean of 2, and even
  EXPECT_DOUBLE_EQ(idle_experts(measured), 0.125);
}

TEST(Experiments, RowsOfExpertsWithWeightsAndPairsOfRoundsAreCounted) {
  Measured measured;
  measured.tokens = 2;
  measured.load = {{2, 1, 1}, {0, 3, 1}};  // two rounds of one layer
  EXPECT_DOUBLE_EQ(rows_per_token(measured, 3, 1), 4.0);
  EXPECT_DOUBLE_EQ(rows_per_token(measured, 2, 1), 3.0);
  EXPECT_DOUBLE_EQ(max_violation(of_experts(measured, 2)), (2 / 1.5 - 1 + 3 / 1.5 - 1) / 2);
  // Tokens with experts {0, 1}, {0, 2}, then {1, 2}, {1}: two of four slots... the second round has four.
  measured.round_pairs = {{0, 2, 1, 0, 1, 1, 0, 2, 0}};
  EXPECT_DOUBLE_EQ(round_repeats(measured), 0.25);
  EXPECT_DOUBLE_EQ(round_asymmetry(measured), (2 + 1 + 1) * 2.0 / 7.0);
}

TEST(Experiments, CorruptionReplacesItsShareAtTheSamePlacesAndTargetsStay) {
  TokenIds text(20000);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<std::int32_t>(i % 50);
  const at::Tensor inputs = span_batch(text, 0, 100, 100).inputs;
  const at::Tensor marked = corrupted_inputs(inputs, text, 0, {.share = 0.1, .token = 99});
  const auto share = [&](const at::Tensor& mask) { return mask.to(at::kDouble).mean().item<double>(); };
  EXPECT_NEAR(share(marked == 99), 0.1, 0.01);
  EXPECT_TRUE(at::where(marked == 99, inputs, marked).equal(inputs));
  // From the text itself: fifty kinds, so that one in fifty is what it was.
  const at::Tensor drawn = corrupted_inputs(inputs, text, 0, {.share = 0.1});
  EXPECT_NEAR(share(drawn != inputs), 0.098, 0.01);
  EXPECT_LT(drawn.max().item<std::int64_t>(), 50);
  EXPECT_TRUE(at::where(marked == 99, at::zeros_like(drawn), drawn - inputs).equal(at::zeros_like(drawn)));
  // However spans are cut into batches.
  const at::Tensor late = span_batch(text, 60, 40, 100).inputs;
  EXPECT_TRUE(corrupted_inputs(late, text, 60, {.share = 0.1, .token = 99}).equal(marked.narrow(0, 60, 40)));
  EXPECT_TRUE(corrupted_inputs(inputs, text, 0, {.share = 1e-12, .token = 99}).equal(inputs));
}

TEST(Experiments, TheRateWithTheLeastLossIsChosenForEachArm) {
  Experiment experiment;
  experiment.slug = "x";
  experiment.learning_rates = {0.1, 0.2};
  experiment.arms = {{.name = "a"}, {.name = "b"}, {.name = "c", .tuned_as = "b"}};
  EXPECT_EQ(tuning_runs(experiment).size(), 4u);
  const auto row = [](const char* arm, double rate, double loss) {
    return Json{{"arm", arm}, {"learning_rate", rate}, {"metrics", {{"tune_bits_per_byte", loss}}}};
  };
  const std::vector<Json> rows = {row("a", 0.1, 2.0), row("a", 0.2, 3.0), row("b", 0.1, 2.5), row("b", 0.2, 2.0),
                                  row("b", 0.2, 2.2)};
  EXPECT_EQ(chosen_rates(experiment, rows), (std::vector<double>{0.1, 0.2, 0.2}));
  EXPECT_THROW(chosen_rates(experiment, {rows[0]}), Error);
}

TEST(Experiments, RatesOfTheBiasFallAsDeclared) {
  LossOptions losses;
  losses.bias_rate = 0.5f;
  EXPECT_EQ(bias_rate_at(losses, 4), 0.5);
  losses.bias_schedule = LossOptions::BiasSchedule::kInverseSqrt;
  EXPECT_EQ(bias_rate_at(losses, 4), 0.25);
  losses.bias_schedule = LossOptions::BiasSchedule::kInverse;
  EXPECT_EQ(bias_rate_at(losses, 4), 0.125);
}

}  // namespace
}  // namespace junto
