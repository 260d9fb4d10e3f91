#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/test_program.h"
#include "format/safetensors.h"

namespace junto {
namespace {

Json inspected(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "inspect");
  arguments.push_back("--json");
  const Ran ran = run_junto(arguments);
  EXPECT_EQ(ran.status, 0) << ran.err;
  return ran.status == 0 ? Json::parse(ran.out) : Json::object();
}

TEST(Inspect, TellsLayersExpertsAndRouters) {
  const Json report = inspected({checkpoint_path("deepseek_v3")});
  EXPECT_EQ(report["blocks"], 3);
  EXPECT_EQ(report["context"], 256);
  EXPECT_EQ(report["vocabulary"], 384);
  EXPECT_EQ(report["chat_template"], true);
  EXPECT_EQ(report["tokenizer"]["tokens"], 384);
  ASSERT_EQ(report["layers"].size(), 2u);  // a dense one, then two that are alike
  EXPECT_FALSE(report["layers"][0].contains("experts"));
  EXPECT_EQ(report["layers"][0]["dense_width"], 96);
  const Json& routed = report["layers"][1];
  EXPECT_EQ(routed["first"], 1);
  EXPECT_EQ(routed["last"], 2);
  EXPECT_EQ(routed["experts"]["count"], 16);
  EXPECT_EQ(routed["experts"]["per_token"], 4);
  EXPECT_EQ(routed["experts"]["least_width"], 32);
  EXPECT_EQ(routed["experts"]["shared_expert"], true);
  EXPECT_EQ(routed["experts"]["router"]["score"], "sigmoid");
}

TEST(Inspect, BytesAddUp) {
  const Json report = inspected({checkpoint_path("olmoe"), "--tensors"});
  std::int64_t bytes = 0, values = 0, tensors = 0;
  for (const Json& type : report["types"]) {
    bytes += type["bytes"].get<std::int64_t>();
    values += type["values"].get<std::int64_t>();
    tensors += type["tensors"].get<std::int64_t>();
  }
  EXPECT_EQ(bytes, report["bytes"]);
  EXPECT_EQ(values, report["parameters"]);
  EXPECT_EQ(tensors, static_cast<std::int64_t>(report["tensors"].size()));
  std::int64_t listed = 0;
  for (const Json& tensor : report["tensors"]) listed += tensor["bytes"].get<std::int64_t>();
  EXPECT_EQ(listed, bytes);
  // Three layers of 16 experts of width 32 at hidden size 64 in bfloat16, 4 of them for each token.
  EXPECT_EQ(report["routed_bytes"], 3 * 16 * 3 * 32 * 64 * 2);
  EXPECT_EQ(report["bytes_per_token"].get<std::int64_t>() - report["always_read_bytes"].get<std::int64_t>(),
            3 * 4 * 3 * 32 * 64 * 2);
}

TEST(Inspect, TextNamesTheSame) {
  const Ran ran = run_junto({"inspect", checkpoint_path("jetmoe"), "--tensors"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  for (const char* part : {"attention experts", "expert attention", "router {", "chat template: yes", "BPE"}) {
    EXPECT_NE(ran.out.find(part), std::string::npos) << part << "\n" << ran.out;
  }
}

TEST(Inspect, VerifyReadsEveryValue) {
  const Json report = inspected({checkpoint_path("mixtral"), "--verify"});
  EXPECT_EQ(report["verification"]["bad"].size(), 0u);
  EXPECT_EQ(report["verification"]["values"], report["parameters"]);
}

TEST(Inspect, VerifyNamesTheTensorThatIsNotFinite) {
  const Scratch scratch;
  std::filesystem::copy(checkpoint_path("mixtral"), scratch.path("model"));
  const std::string file = scratch.path("model/model.safetensors");
  SafetensorsFile original = open_safetensors(file);
  std::vector<TensorToWrite> tensors;
  std::vector<float> damaged;
  for (const NamedTensor& named : original.tensors.all()) {
    tensors.push_back(to_write(named.name, named.tensor));
    if (named.name != "model.norm.weight") continue;
    damaged = decode(named.tensor);
    damaged[3] = std::numeric_limits<float>::quiet_NaN();
    damaged[5] = damaged[6] = std::numeric_limits<float>::infinity();
    tensors.back() = to_write(named.name, make_tensor(named.tensor.shape, damaged));
  }
  ASSERT_FALSE(damaged.empty());
  write_safetensors(file, tensors);
  EXPECT_EQ(run_junto({"inspect", scratch.path("model")}).status, 0);
  const Ran ran = run_junto({"inspect", scratch.path("model"), "--verify", "--json"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.err,
            "junto: " + scratch.path("model") + ": tensor \"model.norm.weight\" has 1 NaN and 2 infinite values\n");
  const Json bad = Json::parse(ran.out)["verification"]["bad"];
  ASSERT_EQ(bad.size(), 1u);
  EXPECT_EQ(bad[0]["nan"], 1);
  EXPECT_EQ(bad[0]["infinite"], 2);
  // And running it ends with an error that says so, not with nonsense.
  EXPECT_EQ(refusal_of({"logits", scratch.path("model"), "--ids", "1,2", "--out", scratch.path("out")}),
            scratch.path("model") + ": logits are not finite at position 0");
}

TEST(Inspect, WhatIsNoModelIsRefusedByName) {
  const Scratch scratch;
  EXPECT_EQ(refusal_of({"inspect", scratch.put("text.gguf", "hello")}),
            scratch.path("text.gguf") + ": is neither a GGUF file nor a Hugging Face directory");
  std::filesystem::create_directory(scratch.path("odd"));
  scratch.put("odd/config.json", R"({"architectures": ["NoSuchForCausalLM"], "model_type": "no_such"})");
  EXPECT_NE(refusal_of({"inspect", scratch.path("odd")}).find("odd"), std::string::npos);
}

}  // namespace
}  // namespace junto
