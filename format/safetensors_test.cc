#include "format/safetensors.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "format/test_directory.h"

namespace junto {
namespace {

// The bytes of a file with this header and `data_bytes` zeros.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t size = header.size();
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof size);
  return bytes + header + std::string(data_bytes, '\0');
}

std::string error_of_parsing(const std::string& bytes) {
  return error_of([&] { parse_safetensors(std::as_bytes(std::span(bytes)), "f"); });
}

std::string error_of_header(const std::string& header, std::size_t data_bytes) {
  return error_of_parsing(file_of(header, data_bytes));
}

class SafetensorsFileTest : public ::testing::Test {
 protected:
  TestDirectory directory_;
};

TEST_F(SafetensorsFileTest, RoundTripOfEveryType) {
  std::vector<std::byte> bytes(48);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  std::vector<TensorToWrite> tensors;
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8, DType::kI16, DType::kI32,
                           DType::kI64, DType::kU8, DType::kBool, DType::kF8E4M3, DType::kF8E5M2}) {
    const auto count = static_cast<std::int64_t>(24 / block_bytes(type));
    tensors.push_back(to_write(std::string(dtype_name(type)), Tensor{type, {count}, std::span(bytes).first(24), {}}));
  }
  tensors.push_back(to_write("empty", Tensor{DType::kF32, {3, 0}, {}, {}}));
  tensors.push_back(to_write("scalar", Tensor{DType::kI64, {}, std::span(bytes).first(8), {}}));
  const SafetensorsMetadata metadata = {{"format", "pt"}, {"quote\"", "\xc3\xa9"}};
  write_safetensors(directory_.path("f"), tensors, metadata);
  const SafetensorsFile file = open_safetensors(directory_.path("f"));
  EXPECT_EQ(file.metadata, metadata);
  ASSERT_EQ(file.tensors.size(), tensors.size());
  for (const TensorToWrite& tensor : tensors) {
    const Tensor* read = file.tensors.find(tensor.name);
    ASSERT_NE(read, nullptr) << tensor.name;
    EXPECT_EQ(read->type, tensor.type);
    EXPECT_EQ(read->shape, tensor.shape);
    ASSERT_EQ(read->bytes.size(), bytes_of(tensor.type, read->values()));
    EXPECT_TRUE(std::equal(read->bytes.begin(), read->bytes.end(), bytes.begin()));
  }
}

TEST_F(SafetensorsFileTest, ReadsWhatTheReferenceWrote) {
  const SafetensorsFile file =
      open_safetensors(JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/mixtral/expected.safetensors");
  ASSERT_NE(file.tensors.find("logits"), nullptr);
  EXPECT_EQ(file.tensors.find("logits")->shape, (Shape{2, 48, 384}));
  EXPECT_EQ(file.tensors.find("greedy")->shape, (Shape{1, 24}));
}

TEST_F(SafetensorsFileTest, ProgressAndProducers) {
  std::uint64_t last = 0;
  write_safetensors(directory_.path("f"),
                    {to_write("a", make_tensor({2}, {1, 2})), to_write("b", make_tensor({1}, {3}))}, {},
                    [&](std::uint64_t done, std::uint64_t total) {
                      EXPECT_EQ(total, 12u);
                      last = done;
                    });
  EXPECT_EQ(last, 12u);
}

TEST_F(SafetensorsFileTest, WriterRefuses) {
  const Tensor one = make_tensor({1}, {1});
  const std::string file = directory_.path("f");
  const auto writing = [&](const std::vector<TensorToWrite>& tensors) {
    return error_of([&] { write_safetensors(file, tensors); });
  };
  EXPECT_EQ(writing({to_write("a", one), to_write("a", one)}), file + ": tensor \"a\" is given twice or reserved");
  EXPECT_EQ(writing({to_write("__metadata__", one)}), file + ": tensor \"__metadata__\" is given twice or reserved");
  EXPECT_EQ(writing({to_write("", one)}), file + ": a tensor has an empty name");
  EXPECT_EQ(writing({{"a", DType::kQ8_0, {32}, nullptr}}),
            file + ": tensor \"a\" has type q8_0, which safetensors does not have");
  EXPECT_EQ(writing({{"a", DType::kF32, {1}, [](const ByteSink&) {}}}),
            file + ": tensor \"a\" was given 0 bytes, expected 4");
  EXPECT_EQ(writing({to_write("\xff", one)}), file + ": \"\xff\" is not UTF-8, which names and metadata must be");
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST(Safetensors, TensorsComeInTheOrderOfTheirBytes) {
  const std::string bytes = file_of(R"({"late":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},)"
                                    R"("early":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}  )",
                                    12);
  const SafetensorsFile file = parse_safetensors(std::as_bytes(std::span(bytes)), "f");
  EXPECT_EQ(file.tensors.all()[0].name, "early");
  EXPECT_EQ(file.tensors.all()[1].name, "late");
}

TEST(Safetensors, MisalignedValuesAreCopied) {
  const std::string bytes = file_of(R"({"odd":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                    R"("f":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                                    5);
  const SafetensorsFile file = parse_safetensors(std::as_bytes(std::span(bytes)), "f");
  const Tensor& tensor = *file.tensors.find("f");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % 4, 0u);
  EXPECT_EQ(decode(tensor), std::vector<float>{0});
}

TEST(SafetensorsHostile, SizesAreChecked) {
  EXPECT_EQ(error_of_parsing("1234567"), "f: has 7 bytes, expected at least the 8 of a safetensors header size");
  EXPECT_EQ(error_of_parsing(std::string(8, '\xff')),
            "f: safetensors header size is 18446744073709551615, expected at most 0");
  EXPECT_EQ(error_of_parsing(file_of("{}", 0)), "no error");
  EXPECT_EQ(error_of_parsing(file_of("{}", 1)), "f: tensors end at data byte 0, expected 1");
}

TEST(SafetensorsHostile, OffsetsAreChecked) {
  const auto one = [](const std::string& fields, std::size_t data_bytes) {
    return error_of_header("{\"t\":{\"dtype\":\"F32\"," + fields + "}}", data_bytes);
  };
  EXPECT_EQ(one(R"("shape":[2],"data_offsets":[0,8])", 8), "no error");
  EXPECT_EQ(one(R"("shape":[2],"data_offsets":[0,9])", 9),
            "f: tensor \"t\" has 9 bytes, expected 8 for shape [2] of F32");
  EXPECT_EQ(one(R"("shape":[2],"data_offsets":[4,12])", 12),
            "f: tensor \"t\" begins at data byte 4, expected 0 (tensors leave no holes and do not overlap)");
  EXPECT_EQ(one(R"("shape":[2],"data_offsets":[0,8])", 7),
            "f: tensor \"t\" has data_offsets [0, 8], expected ascending offsets within the 7 bytes of data");
  EXPECT_EQ(one(R"("shape":[2],"data_offsets":[8,0])", 8),
            "f: tensor \"t\" has data_offsets [8, 0], expected ascending offsets within the 8 bytes of data");
  EXPECT_EQ(one(R"("shape":[3000000000,3000000000],"data_offsets":[0,8])", 8),
            "f: tensor \"t\" has shape [3000000000, 3000000000], expected fewer than 2^62 values");
  EXPECT_EQ(one(R"("shape":[18446744073709551615],"data_offsets":[0,8])", 8),
            "f: header: tensor \"t\" has a number 18446744073709551615, expected less than 2^62");
  EXPECT_EQ(error_of_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                            R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                            6),
            "f: tensor \"b\" begins at data byte 2, expected 4 (tensors leave no holes and do not overlap)");
}

TEST(SafetensorsHostile, TheHeadersGrammarIsFixed) {
  const std::string good = R"("dtype":"U8","shape":[1],"data_offsets":[0,1])";
  const auto with = [](const std::string& fields) { return error_of_header("{\"t\":{" + fields + "}}", 1); };
  EXPECT_EQ(with(good), "no error");
  EXPECT_EQ(with(R"("shape":[1],"data_offsets":[0,1])"), "f: header: tensor \"t\" has no dtype");
  EXPECT_EQ(with(R"("dtype":"U8","data_offsets":[0,1])"), "f: header: tensor \"t\" has no shape");
  EXPECT_EQ(with(R"("dtype":"U8","shape":[1])"), "f: header: tensor \"t\" has no data_offsets");
  EXPECT_EQ(with(good + ",\"dtype\":\"U8\""), "f: header: tensor \"t\" has dtype twice");
  EXPECT_EQ(with(good + ",\"x\":1"),
            "f: header: tensor \"t\" has a field \"x\", expected dtype, shape and data_offsets");
  EXPECT_EQ(with(R"("dtype":"C64","shape":[1],"data_offsets":[0,1])"),
            "f: header: tensor \"t\" has dtype \"C64\", which is unknown here");
  EXPECT_EQ(with(R"("dtype":1)"), "f: header at \"t\": a number is not expected here");
  EXPECT_EQ(with(R"("dtype":{})"), "f: header at \"t\": an object is not expected here");
  EXPECT_EQ(with(R"("shape":"[1]")"), "f: header at \"t\": a string is not expected here");
  EXPECT_EQ(with(R"("shape":[[1]])"), "f: header at \"t\": an array is not expected here");
  EXPECT_EQ(with(R"("shape":[-1])"), "f: header at \"t\": a negative number is not expected here");
  EXPECT_EQ(with(R"("shape":[1.5])"), "f: header at \"t\": a fraction is not expected here");
  EXPECT_EQ(with(R"("shape":null)"), "f: header at \"t\": null is not expected here");
  EXPECT_EQ(with(R"("data_offsets":[1])"), "f: header: tensor \"t\" has 1 data_offsets, expected 2");
  EXPECT_EQ(with(R"("data_offsets":[0,1,2])"), "f: header: tensor \"t\" has more than 2 data_offsets");
  EXPECT_EQ(with(R"("shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1])"),
            "f: header: tensor \"t\" has more than 16 dimensions");
  EXPECT_EQ(error_of_header("{\"t\":{" + good + "},\"t\":{" + good + "}}", 1),
            "f: header: tensor \"t\" is given twice");
  EXPECT_EQ(error_of_header("{\"t\":[]}", 0), "f: header at \"t\": an array is not expected here");
  EXPECT_EQ(error_of_header("{\"\":{}}", 0), "f: header: a tensor has an empty name");
  EXPECT_EQ(error_of_header("[]", 0), "f: header: an array is not expected here");
  EXPECT_EQ(error_of_header("true", 0), "f: header: a boolean is not expected here");
  EXPECT_EQ(error_of_header(R"({"__metadata__":{"k":1}})", 0),
            "f: header at \"__metadata__\": a number is not expected here");
  EXPECT_EQ(error_of_header(R"({"__metadata__":{"k":{}}})", 0),
            "f: header at \"__metadata__\": an object is not expected here");
  EXPECT_EQ(error_of_header("{} x", 0), "f: header is not valid JSON at byte 4");
  EXPECT_EQ(error_of_header("{\"t", 0), "f: header is not valid JSON at byte 4");
  EXPECT_TRUE(error_of_header(std::string(1 << 20, '['), 0).starts_with("f: header"));
  EXPECT_TRUE(error_of_header("{\"t\":{\"shape\":" + std::string(1 << 20, '['), 0).starts_with("f: header"));
}

TEST_F(SafetensorsFileTest, EveryTruncationIsRefused) {
  write_safetensors(directory_.path("f"), {to_write("a", make_tensor({2}, {1, 2}))}, {{"k", "v"}});
  const std::string whole = read_text_file(directory_.path("f"), 4096);
  EXPECT_EQ(error_of_parsing(whole), "no error");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_TRUE(error_of_parsing(whole.substr(0, size)).starts_with("f: ")) << size;
  }
}

}  // namespace
}  // namespace junto
