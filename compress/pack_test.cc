// Packed models compute what their source computes, to the bit, in memory and streamed, and unpack to the source's
// bytes.
#include "compress/pack.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "compress/carve.h"
#include "compress/convert.h"
#include "compress/test_models.h"
#include "format/gguf.h"
#include "format/test_directory.h"

namespace junto {
namespace {

std::string contents_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> logits_of(const std::string& path, ThreadPool& pool, std::int64_t expert_memory,
                             ReadEngine engine = ReadEngine::kAuto) {
  LoadOptions options;
  options.pool = &pool;
  options.expert_memory = expert_memory;
  options.read_engine = engine;
  options.prefetch = Prefetch::kNextRouter;
  const std::shared_ptr<Model> model = load_model(path, options);
  EXPECT_EQ(model->cache != nullptr, expert_memory > 0);
  Decoder decoder(model, pool);
  Sequence sequence;
  std::vector<float> all;
  const std::vector<std::int32_t> ids = {3, 14, 15, 92, 65, 35, 89, 79};
  for (const std::size_t count : {5u, 1u, 1u, 1u}) {
    const auto logits = decoder.feed(sequence, std::span(ids).subspan(sequence.tokens.size(), count));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

void flip_byte(const std::string& path, std::int64_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(at);
  file.put(byte);
}

std::string error_of(const auto& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class PackTest : public testing::TestWithParam<const char*> {
 protected:
  PackTest() {
    ConvertOptions options;
    options.source = kOracles + "olmoe";
    options.out = source_;
    options.types.type = parse_weight_type(GetParam(), "type");
    convert(options);
  }
  const TestDirectory directory_;
  const std::string source_ = directory_.path("source.gguf"), packed_ = directory_.path("packed.gguf"),
                    restored_ = directory_.path("restored.gguf");
};

TEST_P(PackTest, ComputesTheSameBitsInMemoryAndStreamed) {
  const PackReport report = pack(open_checkpoint(source_), packed_);
  EXPECT_GT(report.experts, 0);
  EXPECT_LE(report.bytes, packed_file_bytes(open_checkpoint(source_)));
  ThreadPool pool(2);
  const std::vector<float> expected = logits_of(source_, pool, 0);
  EXPECT_EQ(logits_of(packed_, pool, 0), expected);
  for (const ReadEngine engine : {ReadEngine::kAuto, ReadEngine::kThreads}) {
    EXPECT_EQ(logits_of(packed_, pool, 200000, engine), expected);
    EXPECT_EQ(logits_of(packed_, pool, 10000000, engine), expected);
  }
}

TEST_P(PackTest, UnpacksToTheSourcesBytes) {
  pack(open_checkpoint(source_), packed_);
  verify_packed(open_checkpoint(packed_));
  unpack(open_checkpoint(packed_), restored_);
  EXPECT_EQ(contents_of(restored_), contents_of(source_));
}

TEST_P(PackTest, AFlippedByteIsAnErrorThatNamesTheExpert) {
  pack(open_checkpoint(source_), packed_);
  std::int64_t experts = 0, at = 0;
  std::uint64_t expert_bytes = 0;
  {
    const Checkpoint packed = open_checkpoint(packed_);
    const PackedLayer layer = parse_packed_experts(packed.metadata)->layers.at(1);
    experts = layer.experts, expert_bytes = layer.expert_bytes;
    EXPECT_EQ(check_packed_experts(packed), 3 * experts);
    const std::span<const std::byte> blob = packed.find(packed_tensor_name(1))->bytes;
    at = static_cast<std::int64_t>(file_place(blob.data())->offset);
  }
  for (std::int64_t e = 0; e < experts; ++e) flip_byte(packed_, at + e * static_cast<std::int64_t>(expert_bytes) + 77);
  const std::string error = error_of([&] { check_packed_experts(open_checkpoint(packed_)); });
  EXPECT_NE(error.find("packed.gguf: expert 0 of block 1 has CRC-32C "), std::string::npos) << error;
  EXPECT_EQ(check_packed_experts(open_checkpoint(source_)), 0) << "is not packed";
}

TEST_P(PackTest, TheSourceGoesOnlyWhereThePackedFileRestoresIt) {
  pack(open_checkpoint(source_), packed_);
  std::int64_t at = 0;
  {
    const Checkpoint packed = open_checkpoint(packed_);
    at = static_cast<std::int64_t>(file_place(packed.find(packed_tensor_name(2))->bytes.data())->offset);
  }
  flip_byte(packed_, at);
  const std::string before = contents_of(source_);
  const std::string error = error_of([&] { replace_by_packed(source_, packed_); });
  EXPECT_NE(error.find("packed.gguf"), std::string::npos) << error;
  EXPECT_EQ(contents_of(source_), before);
  EXPECT_FALSE(error_of([&] { replace_by_packed(source_, directory_.path("none.gguf")); }).empty());
  EXPECT_EQ(contents_of(source_), before);
  flip_byte(packed_, at);  // as it was
  replace_by_packed(source_, packed_);
  EXPECT_FALSE(std::filesystem::exists(source_));
  unpack(open_checkpoint(packed_), restored_);
  EXPECT_EQ(contents_of(restored_), before);
}

// Groups of neurons whose down matrices stand neuron by neuron, in blocks of outputs (Q8_0) or as they are (F16).
TEST(Pack, CarvedModelsComputeTheSameBitsAndUnpackToTheirBytes) {
  const TestDirectory directory;
  const std::string source = directory.path("moe.gguf"), packed = directory.path("packed.gguf"),
                    restored = directory.path("restored.gguf");
  for (const DType down : {DType::kQ8_0, DType::kQ5_0, DType::kF16}) {
    CarveOptions options;
    options.source = kOracles + "llama";
    options.out = source;
    options.shape = {32, 8};  // three neurons each
    options.window = 64;
    options.down_type = down;
    options.threads = 2;
    Random random(7);
    for (int i = 0; i < 512; ++i) options.calibration.push_back(static_cast<std::int32_t>(random.next() % 384));
    carve(options);
    EXPECT_EQ(pack(open_checkpoint(source), packed).experts, 3 * 24);
    EXPECT_EQ(parse_packed_experts(open_checkpoint(packed).metadata)->layers.at(0).parts.back().by_column, true);
    ThreadPool pool(2);
    const std::vector<float> expected = logits_of(source, pool, 0);
    EXPECT_EQ(logits_of(source, pool, 200000), expected);
    EXPECT_EQ(logits_of(packed, pool, 0), expected);
    for (const ReadEngine engine : {ReadEngine::kAuto, ReadEngine::kThreads}) {
      EXPECT_EQ(logits_of(packed, pool, 20000, engine), expected);
      EXPECT_EQ(logits_of(packed, pool, 1000000, engine), expected);
    }
    unpack(open_checkpoint(packed), restored);
    EXPECT_EQ(contents_of(restored), contents_of(source));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PackTest, testing::Values("q4_0", "q4_k", "bf16"),
                         [](const auto& type) { return std::string(type.param); });

TEST(Pack, AChangedByteIsFoundBeforeAnythingIsWritten) {
  const TestDirectory directory;
  const std::string source = directory.path("s.gguf"), packed = directory.path("p.gguf"),
                    out = directory.path("o.gguf");
  ConvertOptions options;
  options.source = kOracles + "olmoe";
  options.out = source;
  options.types.type = DType::kQ8_0;
  convert(options);
  EXPECT_NE(error_of([&] { unpack(open_checkpoint(source), out); }).find("is not packed"), std::string::npos);
  pack(open_checkpoint(source), packed);
  EXPECT_NE(error_of([&] { pack(open_checkpoint(packed), out); }).find("is packed already"), std::string::npos);
  options.source = packed;
  options.out = out;
  EXPECT_NE(error_of([&] { convert(options); }).find("is packed"), std::string::npos);
  flip_byte(packed, static_cast<std::int64_t>(contents_of(packed).size()) - 100000);
  EXPECT_NE(error_of([&] { unpack(open_checkpoint(packed), out); }).find("is not what was packed"), std::string::npos);
  EXPECT_FALSE(std::ifstream(out).good());
}

TEST(Pack, WhatTheKeySaysIsCheckedAgainstTheTensors) {
  Metadata metadata("m.gguf");
  EXPECT_FALSE(parse_packed_experts(metadata));
  const char* const part = R"({"tensor": "blk.0.ffn_up_exps.weight", "type": "q4_0", "rows": 32, "cols": 64})";
  const auto with = [&](const std::string& layer, const std::string& layout = "rows16") {
    metadata.set(
        kPackedKey,
        R"({"version": 1, "layout": ")" + layout +
            R"(", "isa": "any", "source_sha256": "", "source_architecture": "olmoe", "tensors": [], "layers": [)" +
            layer + "]}");
    return error_of([&] { parse_packed_experts(metadata); });
  };
  const std::string parts = std::string("\"parts\": [") + part + ", " + part + "]";
  EXPECT_EQ(with("{\"block\": 0, \"experts\": 4, \"expert_bytes\": 4096, " + parts + "}"), "no error");
  EXPECT_NE(with("{\"block\": 0, \"experts\": 4, \"expert_bytes\": 4000, " + parts + "}"), "no error");
  EXPECT_NE(with("{\"block\": 0, \"experts\": 4, \"expert_bytes\": 5000, " + parts + "}"), "no error");
  EXPECT_NE(with("{\"block\": 0, \"experts\": 4, \"expert_bytes\": 4096, \"parts\": []}"), "no error");
  EXPECT_NE(with("{\"block\": 0, \"experts\": 0, \"expert_bytes\": 4096, " + parts + "}"), "no error");
  EXPECT_NE(with("7"), "no error");
  EXPECT_NE(with("", "rows8").find("expected rows16"), std::string::npos);
  // Columns lay otherwise under the first name.
  const std::string column = R"({"tensor": "blk.0.ffn_down_t_exps.weight", "type": "q8_0", "rows": 32, "cols": 64, )"
                             R"("by_column": true})";
  const std::string layer =
      "{\"block\": 0, \"experts\": 4, \"expert_bytes\": 4096, \"parts\": [" + column + ", " + part + "]}";
  EXPECT_EQ(with(layer, "rows16 columns32"), "no error");
  EXPECT_NE(with(layer).find("expected rows16 columns32"), std::string::npos);
}

}  // namespace
}  // namespace junto
