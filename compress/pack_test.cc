// Packed models compute what their source computes, to the bit, in memory and streamed, and unpack to the source's
// bytes.
#include "compress/pack.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "base/error.h"
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

INSTANTIATE_TEST_SUITE_P(Types, PackTest, testing::Values("q4_0", "q4_k", "bf16"),
                         [](const auto& type) { return std::string(type.param); });

std::string error_of(const auto& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

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
  {
    std::fstream file(packed, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-100000, std::ios::end);
    const char byte = static_cast<char>(file.peek() ^ 1);
    file.seekp(-100000, std::ios::end);
    file.put(byte);
  }
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
}

}  // namespace
}  // namespace junto
