// Adapters of linear layers in a training run.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "compress/convert.h"
#include "format/test_directory.h"
#include "train/loop/test_logits.h"
#include "train/loop/test_recipe.h"
#include "train/loop/trainer.h"

namespace junto {
namespace {

const Json kAllTargets = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
const Json kHybridRouter = {{"version", 1},
                            {"experts", 4},
                            {"select", {{"rule", "top_p"}, {"p", 0.75}, {"inclusive", false}, {"min_k", 2}}},
                            {"entropy_override", {{"kind", "tsallis"}, {"order", 1.1}, {"threshold", 0.9}}}};

Json dense_recipe(const TestDirectory& directory, const Json& changes) {
  Json recipe = small_recipe(directory, lines_to_learn(),
                             {{"seed", 4},
                              {"model", {{"dense_layers", 2}, {"dense_width", 64}}},
                              {"losses", {{"balance", 0}}},
                              {"optimizer", {{"learning_rate", 0.01}, {"weight_decay", 0.0}}},
                              {"schedule", {{"kind", "constant"}, {"steps", 30}}}});
  recipe.merge_patch(changes);
  return recipe;
}

/// Values of all parameters but adapters, or of these alone.
std::vector<at::Tensor> values_of(const LanguageModel& model, bool adapters) {
  std::vector<at::Tensor> out;
  for (const Parameter& parameter : model.parameters().all()) {
    if (is_adapter_parameter(parameter.name) == adapters) out.push_back(parameter.value.detach().clone());
  }
  return out;
}

bool same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return at::equal(x, y); });
}

// A base of Q8_0, which the trainer reads dequantised: plain and routed.
TEST(Adapters, AloneTrainOverACheckpointAndRunOverIt) {
  const TestDirectory directory;
  Trainer base(parse_recipe(dense_recipe(directory, Json::object()), "recipe"));
  while (!base.done()) base.train_step();
  base.export_model(directory.path());
  const std::string path = directory.path("base.gguf");
  ConvertOptions quantise{.source = directory.path("model.gguf"), .out = path, .types = {}, .progress = {}};
  quantise.types.type = parse_weight_type("q8_0", "--type");
  convert(quantise);
  for (const bool routes : {false, true}) {
    const std::string folder = directory.path(routes ? "routed" : "plain");
    Json json = dense_recipe(directory, {{"adapters", {{"rank", 4}, {"alpha", 8}, {"targets", kAllTargets}}}});
    json["model"] = {{"checkpoint", path}};
    json["run"]["folder"] = folder;
    if (routes) json["adapters"]["router"] = kHybridRouter;
    std::filesystem::create_directory(folder);
    Trainer trainer(parse_recipe(json, "recipe"));
    const std::vector<at::Tensor> before = values_of(trainer.model(), false);
    const double first = trainer.train_step().loss;
    StepReport last;
    while (!trainer.done()) last = trainer.train_step();
    EXPECT_LT(last.loss, first - 0.3);
    EXPECT_TRUE(same(before, values_of(trainer.model(), false)));
    EXPECT_EQ(last.adapter_experts > 1.9 && last.adapter_experts <= 4.0, routes);
    trainer.export_model(folder);
    EXPECT_FALSE(std::filesystem::exists(folder + "/model.gguf"));
    LoadOptions with;
    with.adapters = {{folder + "/adapter"}};
    expect_equal_logits(trainer.model(), path, with);
    const Json config = parse_json(read_text_file(folder + "/adapter/adapter_config.json", 1 << 20), "config");
    EXPECT_EQ(config["peft_type"], routes ? "ROUTED_LORA" : "LORA");
    EXPECT_EQ(config["base_model_name_or_path"], path);
  }
}

TEST(Adapters, BeginWhereTheBaseEnds) {
  const TestDirectory directory;
  const Json json = dense_recipe(
      directory, {{"adapters", {{"rank", 2}, {"targets", kAllTargets}, {"router", kHybridRouter}, {"from", 0.5}}},
                  {"losses", {{"entropy", 0.1}, {"balance", 0.01}}},
                  {"optimizer", {{"average", 0.9}}}});
  Trainer trainer(parse_recipe(json, "recipe"));
  Json without = json;
  without.erase("adapters");
  Trainer base(parse_recipe(without, "recipe"));
  while (!trainer.done()) {
    const bool adapts = trainer.step() >= 15;
    const auto of_base = values_of(trainer.model(), false), of_adapters = values_of(trainer.model(), true);
    const StepReport report = trainer.train_step();
    EXPECT_EQ(same(of_base, values_of(trainer.model(), false)), adapts) << report.step;
    EXPECT_EQ(same(of_adapters, values_of(trainer.model(), true)), !adapts) << report.step;
    EXPECT_EQ(report.adapter_experts > 0.0, adapts) << report.step;
    EXPECT_EQ(report.entropy > 0.0, adapts) << report.step;
    EXPECT_EQ(report.balance > 0.0, adapts) << report.step;
    if (adapts) continue;
    const StepReport alone = base.train_step();  // the same run, to the bit
    EXPECT_EQ(alone.loss, report.loss) << report.step;
    EXPECT_EQ(to_json(alone.work)["attention"], to_json(report.work)["attention"]);
  }
  trainer.export_model(directory.path());
  EXPECT_TRUE(std::filesystem::exists(directory.path("model.gguf")));
  EXPECT_TRUE(std::filesystem::exists(directory.path("adapter/adapter_model.safetensors")));
}

TEST(Adapters, GoOnFromACheckpointToTheBit) {
  const TestDirectory directory;
  const Json json =
      dense_recipe(directory, {{"adapters", {{"targets", kAllTargets}, {"router", kHybridRouter}, {"from", 0.5}}},
                               {"losses", {{"entropy", 0.1}, {"balance", 0.01}}}});
  for (const int stop : {12, 15, 20}) {
    Trainer whole(parse_recipe(json, "recipe")), first(parse_recipe(json, "recipe")),
        second(parse_recipe(json, "recipe"));
    while (whole.step() < 23) whole.train_step();
    while (first.step() < stop) first.train_step();
    const std::string path = directory.path("checkpoint.safetensors");
    first.save(path);
    second.load(path);
    while (second.step() < 23) second.train_step();
    EXPECT_TRUE(at::equal(whole.model().parameters().values(), second.model().parameters().values())) << stop;
    EXPECT_EQ(to_json(whole.ledger()), to_json(second.ledger())) << stop;
  }
}

// DynMoLE's own structural check: the loss of entropy makes routers decided, and nothing else does.
TEST(Adapters, TheLossOfEntropyTakesRowsOutOfTheModeOfAllExperts) {
  const TestDirectory directory;
  std::vector<StepReport> last;
  for (const double entropy : {0.0, 1.0}) {
    const Json json = dense_recipe(
        directory, {{"adapters", {{"rank", 2}, {"targets", kAllTargets}, {"router", kHybridRouter}, {"from", 0.3}}},
                    {"losses", {{"entropy", entropy}, {"entropy_kind", "tsallis"}, {"entropy_order", 1.1}}},
                    {"optimizer", {{"learning_rate", 0.002}}},
                    {"schedule", {{"steps", 60}}}});
    Trainer trainer(parse_recipe(json, "recipe"));
    StepReport report;
    while (!trainer.done()) report = trainer.train_step();
    last.push_back(report);
  }
  EXPECT_GT(last[0].adapter_all, 0.5);
  EXPECT_LT(last[1].adapter_all, 0.5 * last[0].adapter_all);
  EXPECT_LT(last[1].adapter_experts, last[0].adapter_experts - 0.5);
}

TEST(Adapters, ErrorsNameTheField) {
  const TestDirectory directory;
  const auto error_with = [&](const std::vector<std::string>& assignments) {
    Json json = dense_recipe(directory, {{"adapters", {{"targets", {"q_proj"}}}}});
    for (const std::string& one : assignments) set_field(json, one);
    return error_of([&] { parse_recipe(json, "r"); });
  };
  const auto expect = [&](const std::string& assignment, const std::string& error) {
    EXPECT_EQ(error_with({assignment}), error);
  };
  EXPECT_EQ(error_with({}), "no error");
  expect("adapters={}", "r: adapters: targets is missing");
  expect("adapters.targets=q_proj", "r: adapters: targets is \"q_proj\", expected a list of linear layers");
  expect(R"(adapters.targets=["lm_head"])",
         "r: adapters: targets is a list with \"lm_head\", expected q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj "
         "or down_proj");
  expect(R"(adapters.targets=["q_proj","q_proj"])",
         "r: adapters: targets is a list with \"q_proj\" twice, expected each once");
  expect("adapters.rank=0", "r: adapters: rank is 0, expected 1..65536");
  expect(R"(adapters.router={"version":1,"experts":2,"selection_bias":true})",
         "r: adapters: router: selection_bias is true, expected false: none is stored");
  const auto refuses = [&](const std::vector<std::string>& assignments, const std::string& part) {
    const std::string found = error_with(assignments);
    EXPECT_NE(found.find(part), std::string::npos) << found;
  };
  refuses({"model.dense_layers=1", R"(adapters.targets=["up_proj"])"},
          "adapters: targets has up_proj, expected layers of attention alone in a model with experts");
  refuses({R"(model.activation={"kind":"relu","gated":false})", R"(adapters.targets=["gate_proj"])"},
          "adapters: targets has gate_proj, expected none: activation has no gate");
  const std::string router = R"(adapters.router={"version":1,"experts":2})";
  refuses({router, "losses.load=1"}, "losses: load is set, expected 0 with routed adapters");
  refuses({router, "losses.orthogonality=1"}, "losses: orthogonality is set, expected 0 with routed adapters");
  refuses({router, R"(ramps={"losses.load":[[0,1]]})"}, "load is set, expected 0 with routed adapters");
  refuses({router, R"(losses.balance_weights=[1,1,1])"}, "expected a list of 2 numbers");
}

}  // namespace
}  // namespace junto
