// llama.cpp loads what `convert` and `synth` write and computes what Junto computes: its answers were recorded by
// scripts/record-peers. JUNTO_PEERS names a directory with others (scripts/test --peers).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "compress/convert.h"
#include "compress/synth.h"
#include "compress/test_models.h"
#include "format/checkpoint.h"
#include "format/test_directory.h"

namespace junto {
namespace {

constexpr std::size_t kStep = 3;           // of recorded positions
constexpr std::size_t kVocabulary = 1024;  // of synth --preset tiny

std::string recorded(const std::string& name) {
  const char* live = std::getenv("JUNTO_PEERS");
  return (live ? std::string(live) : std::string(JUNTO_SOURCE_DIR) + "/testdata/peers") + "/" + name;
}

struct PeerModel {
  std::string name, oracle, architecture;
  Json config;  // merge patch
  float bound = 1e-3f;
};

std::vector<PeerModel> peer_models() {
  const std::string file = std::string(JUNTO_SOURCE_DIR) + "/testdata/peers/models.json";
  std::vector<PeerModel> models;
  for (const Json& entry : parse_json(read_text_file(file, 1 << 20), file)) {
    models.push_back({entry.at("name"), entry.at("oracle"), entry.at("architecture"),
                      entry.value("config", Json::object()), entry.value("bound", 1e-3f)});
  }
  return models;
}

// The oracle with changed options.
std::string changed_oracle(const TestDirectory& directory, const PeerModel& model) {
  const std::string path = directory.path("model");
  std::filesystem::copy(kOracles + model.oracle, path);
  const std::string config = path + "/config.json";
  Json json = parse_json(read_text_file(config, 1 << 20), config);
  json.merge_patch(model.config);
  std::filesystem::remove(config);
  std::ofstream(config) << json;
  return path;
}

// Every kStep-th row.
std::vector<float> sampled(const std::vector<float>& logits, std::size_t rows) {
  const std::size_t vocabulary = logits.size() / rows;
  std::vector<float> out;
  for (std::size_t r = 0; r < rows; r += kStep) {
    out.insert(out.end(), logits.begin() + r * vocabulary, logits.begin() + (r + 1) * vocabulary);
  }
  return out;
}

std::vector<float> peer_logits(const std::string& name) {
  const SafetensorsFile file = open_safetensors(recorded("llama_cpp.safetensors"));
  const Tensor* tensor = file.tensors.find(name);
  if (!tensor) fail(recorded("llama_cpp.safetensors"), "has no " + name + ": run scripts/record-peers");
  return decode(*tensor);
}

class Peers : public testing::TestWithParam<PeerModel> {};

TEST_P(Peers, LlamaCppAgreesOnLogits) {
  const PeerModel& model = GetParam();
  TestDirectory directory;
  ConvertOptions options;
  options.source = changed_oracle(directory, model);
  options.out = directory.path("model.gguf");
  options.types.type = DType::kF32;
  EXPECT_EQ(convert(options).architecture, model.architecture);
  const std::vector<std::int32_t> ids = oracle(model.oracle).ids;
  const std::vector<float> written = logits_of(options.out, ids);
  EXPECT_LE(max_difference(sampled(written, ids.size()), peer_logits(model.name)), model.bound);
  // What is read from the file is what is read from the source.
  EXPECT_LE(max_difference(written, logits_of(options.source, ids)), model.bound);
}

INSTANTIATE_TEST_SUITE_P(LlamaCpp, Peers, testing::ValuesIn(peer_models()), [](const auto& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// Blocks of every type, in a model made of them. llama.cpp rounds activations to 8 bits before a product with quantised
// weights and Junto does not here, so divergence is what can be held; and its median, for at a few positions that
// rounding chooses another expert. A block read otherwise would be far off everywhere.
TEST(PeersTypes, LlamaCppReadsBlocksOfEveryTypeAlike) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 12; ++i) ids.push_back(i * 37 % 1000);
  for (const char* type : {"f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0",
                           "iq4_nl", "iq4_xs", "mxfp4", "q3_k", "q2_k"}) {
    TestDirectory directory;
    SynthOptions options;
    options.type = parse_weight_type(type, "--type");
    options.out = directory.path("tiny.gguf");
    synthesize(options);
    const std::vector<float> ours = logits_of(options.out, ids);
    const std::vector<float> theirs = peer_logits("tiny." + std::string(type));
    ASSERT_EQ(ours.size(), theirs.size());
    std::vector<double> divergences;
    for (std::size_t at = 0; at < ours.size(); at += kVocabulary) {
      divergences.push_back(mean_divergence({ours.begin() + at, ours.begin() + at + kVocabulary},
                                            {theirs.begin() + at, theirs.begin() + at + kVocabulary}, kVocabulary));
    }
    std::nth_element(divergences.begin(), divergences.begin() + 6, divergences.end());
    const double divergence = divergences[6];
    EXPECT_LE(divergence, is_quantised(options.type) ? 5e-3 : 1e-4) << type;
    RecordProperty(type, std::to_string(divergence));
  }
}

}  // namespace
}  // namespace junto
