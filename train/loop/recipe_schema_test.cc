// The JSON Schema of recipes: the file that is published, and Python's jsonschema against the reader.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "analyze/experiment.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "format/test_directory.h"
#include "train/loop/recipe.h"
#include "train/reproduce/run_arm.h"

namespace junto {
namespace {

const std::string kRoot = JUNTO_SOURCE_DIR;
const std::string kSchemaFile = kRoot + "/recipes/recipe.schema.json";

Json json_file(const std::string& path) {
  return parse_json(read_text_file(path, 1 << 20), path);
}

/// All recipes of the repository: those of recipes/ and the arms of experiments.
std::vector<Json> known_recipes() {
  std::vector<Json> out;
  for (const auto& entry : std::filesystem::directory_iterator(kRoot + "/recipes")) {
    if (!entry.path().string().ends_with(".schema.json")) out.push_back(json_file(entry.path().string()));
  }
  for (const auto& entry : std::filesystem::directory_iterator(kRoot + "/systems")) {
    const std::string file = entry.path().string() + "/experiment.json";
    if (!std::filesystem::exists(file)) continue;
    const Experiment experiment = read_experiment(file, false);
    std::vector<DomainText> texts;
    for (const TextFile& text : experiment.texts)
      texts.push_back({.domain = text.domain, .file = {}, .path = text.path});
    for (const Arm& arm : experiment.arms)
      out.push_back(recipe_of(experiment, {.arm = arm.name, .seed = 1}, texts, "/nowhere"));
  }
  return out;
}

std::string reader_says(const Json& recipe) {
  try {
    parse_recipe(recipe, "r.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "valid";
}

/// What jsonschema says of each.
std::vector<std::string> schema_says(const std::vector<Json>& recipes) {
  const TestDirectory directory;
  std::string lines;
  for (const Json& recipe : recipes) lines += recipe.dump() + "\n";
  const std::string in = directory.put("in", lines), out = directory.path("out");
  const std::string command =
      "for p in python3 /usr/bin/python3; do if $p -c 'import jsonschema' 2>/dev/null; then exec $p " + kRoot +
      "/scripts/validate-json " + kSchemaFile + " <" + in + " >" + out +
      "; fi; done; echo 'jsonschema is missing: scripts/setup test' >&2; exit 3";
  EXPECT_EQ(std::system(command.c_str()), 0);
  std::vector<std::string> said;
  std::ifstream file(out);
  for (std::string line; std::getline(file, line);) said.push_back(line);
  EXPECT_EQ(said.size(), recipes.size());
  said.resize(recipes.size());
  return said;
}

Json tiny_with(const std::vector<std::string>& assignments) {
  Json recipe = json_file(kRoot + "/recipes/tiny.json");
  for (const std::string& assignment : assignments) set_field(recipe, assignment);
  return recipe;
}

TEST(RecipeSchema, FileIsWhatTheReaderMakes) {
  EXPECT_EQ(read_text_file(kSchemaFile, 1 << 20), recipe_schema().dump(2) + "\n")
      << "junto train --schema > recipes/recipe.schema.json";
}

/// Calls `see` with every property's name and schema.
void walk(const OrderedJson& schema, const std::function<void(const std::string&, const OrderedJson&)>& see) {
  if (!schema.is_structured()) return;
  if (schema.is_object() && schema.contains("properties")) {
    for (const auto& [name, property] : schema["properties"].items()) see(name, property);
    EXPECT_EQ(schema.value("additionalProperties", true), false) << schema.dump();
  }
  for (const OrderedJson& part : schema) walk(part, see);
}

TEST(RecipeSchema, DescribesEveryFieldAndItsValues) {
  int fields = 0;
  walk(recipe_schema(), [&](const std::string& name, const OrderedJson& property) {
    ++fields;
    EXPECT_TRUE(property.contains("description") || property.contains("const")) << name;
    bool says = false;
    for (const char* key : {"type", "enum", "const", "$ref", "oneOf"}) says = says || property.contains(key);
    EXPECT_TRUE(says) << name << ": " << property.dump();
  });
  EXPECT_GT(fields, 130);
  const OrderedJson schema = recipe_schema();
  EXPECT_EQ(schema["properties"]["batch"]["properties"]["sequences"].dump(),
            R"({"description":"Of a step","type":"integer","minimum":1,"maximum":1048576,"default":8})");
  EXPECT_EQ(schema["$defs"]["select"]["oneOf"].size(), 9u);
}

// Each is wrong by itself: types, ranges, names, unknown and missing fields, alternatives.
const char* const kWrong[] = {
    "version=2",
    "seed=-1",
    "seed=1.5",
    "name=3",
    "sede=1",
    "model=null",
    "model.hiden=5",
    "model.hidden=0",
    "model.layers=two",
    "model.qk_norm=1",
    "model.norm_eps=2",
    "model={\"checkpoint\":1}",
    "model.activation={\"gated\":true}",
    "model.activation={\"kind\":\"swish\"}",
    "model.residual={\"rule\":\"heavy_ball\",\"beta1\":0.5}",
    "model.residual={\"rule\":\"jump\"}",
    "model.rounds.count=0",
    "model.free_experts.copy=-1",
    "model.router.version=2",
    "model.router.experts=0",
    "model.router.score=soft",
    "model.router.select={\"k\":2}",
    "model.router.select={\"rule\":\"top_q\"}",
    "model.router.select={\"rule\":\"top_k\",\"p\":0.5}",
    "model.router.select={\"rule\":\"top_p\",\"p\":1.5}",
    "model.router.select={\"rule\":\"given\",\"experts_of_key\":[[1,1]]}",
    "model.router.select.k=0",
    "model.router.prune={\"rule\":\"capacity\",\"drop\":\"none\"}",
    "model.router.prune={\"factor\":1}",
    "model.router.prune={\"rule\":\"capacity\",\"shares\":[1,1,1,1,1,1,1,0]}",
    "model.router.entropy_override={\"threshold\":2}",
    "model.router_training.noise=loud",
    "adapters={\"rank\":4}",
    "adapters={\"targets\":[]}",
    "adapters={\"targets\":[\"q_proj\",\"q_proj\"]}",
    "adapters={\"targets\":[\"lm_head\"]}",
    "adapters={\"targets\":[\"q_proj\"],\"rank\":0}",
    "adapters={\"targets\":[\"q_proj\"],\"from\":1.5}",
    "adapters={\"targets\":[\"q_proj\"],\"router\":{\"version\":1}}",
    "data.files=[]",
    "data.files=README.md",
    "data.files=[3]",
    "data.files=[{}]",
    "data.files=[{\"path\":\"a.csv\",\"colum\":\"b\"}]",
    "data.files=[{\"path\":\"a\",\"format\":\"xml\"}]",
    "data.validation_share=1",
    "data.vocabulary=10",
    "batch.length=0",
    "batch.order={\"kind\":\"sorted\"}",
    "batch.order={\"kind\":\"shuffled\",\"pass_sequences\":0}",
    "batch.order=shuffled",
    "placement.experts=0",
    "placement.groups=2",
    "losses.entropy_kind=boltzmann",
    "losses.balance_weights=[1,1,1,1,1,1,1,-1]",
    "optimizer.kind=adam",
    "optimizer.beta2=1",
    "optimizer={\"kind\":\"adafactor\",\"beta2_exponent\":2}",
    "schedule.flops=0",
    "schedule.final_share=2",
    "stages={}",
    "stages=[{\"from\":2}]",
    "stages=[{\"freeze\":\"x\"}]",
    "ramps={\"losses.balanc\":[[0,1]]}",
    "ramps={\"losses.balance\":[]}",
    "ramps={\"losses.balance\":[[0,1,2]]}",
    "run={}",
    "run.folder=\"\"",
    "run.log_every=0",
};

TEST(RecipeSchema, RefusesWhatTheReaderRefuses) {
  std::vector<Json> recipes;
  for (const char* assignment : kWrong) recipes.push_back(tiny_with({assignment}));
  for (const char* key : {"version", "model", "data", "run"}) {
    recipes.push_back(tiny_with({}));
    recipes.back().erase(key);
  }
  recipes.push_back(Json::array());
  const std::vector<std::string> said = schema_says(recipes);
  for (std::size_t i = 0; i < recipes.size(); ++i) {
    const std::string which = i < std::size(kWrong) ? kWrong[i] : recipes[i].dump();
    EXPECT_NE(said[i], "valid") << which;
    EXPECT_NE(reader_says(recipes[i]), "valid") << which;
  }
}

// Another value for each kind of thing that there is, all right by themselves.
const std::vector<std::vector<std::string>> kRight = {
    {"$schema=recipe.schema.json", "optimizer.kind=lion", "optimizer.average=0.999999"},
    {"model.router.select={\"rule\":\"top_p\",\"p\":0.4,\"inclusive\":false,\"max_k\":4,\"min_k\":1}"},
    {"model.router.select={\"rule\":\"threshold\",\"threshold\":0.1,\"min_k\":1}"},
    {"model.router.select={\"rule\":\"gap\"}", "model.router.logits=two_layer", "model.router.logits_hidden=8"},
    {"model.router.select={\"rule\":\"margin\",\"of_pair\":true}", "model.rounds={\"count\":2}"},
    {"model.router.select={\"rule\":\"group_limited\",\"groups\":4,\"top_groups\":2,\"k\":3}"},
    {"model.router.select={\"rule\":\"sparse_mixer\"}", "model.router.score=logit", "losses.balance=0"},
    {"model.router.select={\"rule\":\"given\",\"experts_of_key\":[[1,2],[3]]}"},
    {"model.router.select={\"rule\":\"expert_choice\",\"factor\":2}"},
    {"model.router.prune={\"rule\":\"capacity\",\"priority\":\"weight\",\"shares\":[1,1,1,1,1,1,1,2]}"},
    {"model.router.entropy_override={\"kind\":\"renyi\",\"order\":2}", "model.activation={\"kind\":\"relu\"}"},
    {"model.router_training={\"noise\":\"learned\",\"select\":{\"rule\":\"top_k\",\"k\":1}}", "losses.load=0.01"},
    {"model.residual={\"rule\":\"heavy_ball\",\"mu\":0.7}", "model.first_residual={\"rule\":\"adam_like\"}"},
    {"model.free_experts={\"constant\":2,\"copy\":1,\"zero\":1}", "schedule.flops=1e12", "schedule.warmup_steps=0"},
    {"losses.entropy=0.1", "losses.entropy_kind=tsallis", "losses.entropy_order=2", "losses.orthogonality=1"},
    {"stages=[{\"from\":0.5,\"freeze\":[\"blk.*\"],\"experts\":16}]", "ramps={\"losses.z\":[[0,0.1],[1,0]]}"},
    {"data.files=[\"a.csv\",{\"path\":\"b.csv\",\"column\":\"body\"},{\"path\":\"c\",\"format\":\"jsonl\"}]"},
    {"optimizer={\"kind\":\"adafactor\",\"relative_step\":false,\"clip_update\":2,\"beta1\":0.9}"},
    {"batch.order={\"kind\":\"shuffled\",\"pass_sequences\":64}"},
    {"batch.order.kind=similar_routing"},
    {"model.routed_layers=[1,3]", "model.dense_width=64"},
    {"model.dense_layers=4", "model.dense_width=64", "data.vocabulary=300", "data.end_of_text=\"\""},
    {"adapters={\"targets\":[\"q_proj\",\"v_proj\"],\"from\":0.5}"},
    {"adapters={\"targets\":[\"o_proj\"],\"rank\":2,\"alpha\":4,\"router\":{\"version\":1,\"experts\":4}}",
     "losses.balance_of=weights"},
};

/// Something else at a random place.
void mutate(Json& recipe, Random& random) {
  static const Json values = Json::parse(
      R"([null, true, false, -1, 0, 1, 2, 3, 0.5, 0.05, 1e9, "", "x", "top_k", "softmax", [], [1], ["x"], {}, {"x": 1}])");
  Json* place = &recipe;
  std::string key;
  while (place->is_object() && !place->empty() && (key.empty() || random.uniform() < 0.8)) {
    auto it = place->begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random.next() % place->size()));
    key = it.key();
    if (!it->is_object() || random.uniform() < 0.1) break;
    place = &*it;
  }
  if (!place->is_object()) return;
  const double kind = random.uniform();
  if (kind < 0.1) {
    place->erase(key);
  } else if (kind < 0.15) {
    (*place)["unknown"] = 1;
  } else {
    (*place)[key] = values[random.next() % values.size()];
  }
}

TEST(RecipeSchema, TakesWhatTheReaderTakes) {
  std::vector<Json> recipes = known_recipes();
  EXPECT_GE(recipes.size(), 10u);
  for (const auto& assignments : kRight) recipes.push_back(tiny_with(assignments));
  const std::size_t right = recipes.size();
  Random random(5);
  for (int i = 0; i < 3000; ++i) {
    recipes.push_back(recipes[random.next() % right]);
    for (int times = 0; times < 1 + i % 2; ++times) mutate(recipes.back(), random);
  }
  const std::vector<std::string> said = schema_says(recipes);
  int both_take = 0, both_refuse = 0;
  for (std::size_t i = 0; i < recipes.size(); ++i) {
    const std::string reader = reader_says(recipes[i]);
    if (i < right) {
      EXPECT_EQ(reader, "valid") << recipes[i].dump();
    }
    if (reader == "valid") {
      EXPECT_EQ(said[i], "valid") << recipes[i].dump();
    }
    both_take += reader == "valid" && said[i] == "valid" ? 1 : 0;
    both_refuse += reader != "valid" && said[i] != "valid" ? 1 : 0;
  }
  EXPECT_GT(both_take, 300);
  EXPECT_GT(both_refuse, 1500);
}

}  // namespace
}  // namespace junto
