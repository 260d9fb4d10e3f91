#include "format/gguf.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>

#include "base/file.h"
#include "base/json.h"
#include "format/test_directory.h"

namespace junto {
namespace {

const std::string kFixtures = JUNTO_SOURCE_DIR "/testdata/format/";

std::string bytes_of_file(const std::string& path) {
  return read_text_file(path, 64 << 20);
}

// The result keeps its own copy of the bytes.
GgufFile parse(const std::string& bytes) {
  const auto copy = std::make_shared<const std::string>(bytes);
  return parse_gguf(std::as_bytes(std::span(*copy)), "f.gguf", copy);
}

std::string error_of_parsing(const std::string& bytes) {
  return error_of([&] { parse(bytes); });
}

template <class T>
T get(const GgufFile& file, const std::string& key) {
  return std::get<T>(*file.metadata.find(key));
}

TEST(Gguf, ReadsWhatGgufPyWrote) {
  const GgufFile file = open_gguf(kFixtures + "every_type.gguf");
  EXPECT_EQ(file.version, 3u);
  EXPECT_EQ(get<std::string>(file, "general.architecture"), "junto-test");
  EXPECT_EQ(get<std::uint8_t>(file, "scalar.u8"), 255);
  EXPECT_EQ(get<std::int8_t>(file, "scalar.i8"), -128);
  EXPECT_EQ(get<std::uint16_t>(file, "scalar.u16"), 65535);
  EXPECT_EQ(get<std::int16_t>(file, "scalar.i16"), -32768);
  EXPECT_EQ(get<std::uint32_t>(file, "scalar.u32"), 4294967295u);
  EXPECT_EQ(get<std::int32_t>(file, "scalar.i32"), INT32_MIN);
  EXPECT_EQ(get<float>(file, "scalar.f32"), 0.1f);
  EXPECT_EQ(get<bool>(file, "scalar.bool"), true);
  EXPECT_EQ(get<std::string>(file, "scalar.string"), "Junto: 1727 \u00e9");
  EXPECT_EQ(get<std::uint64_t>(file, "scalar.u64"), UINT64_MAX);
  EXPECT_EQ(get<std::int64_t>(file, "scalar.i64"), INT64_MIN);
  EXPECT_EQ(get<double>(file, "scalar.f64"), 0.1);
  EXPECT_EQ(get<std::vector<std::uint8_t>>(file, "array.u8"), (std::vector<std::uint8_t>{0, 1, 255}));
  EXPECT_EQ(get<std::vector<std::int8_t>>(file, "array.i8"), (std::vector<std::int8_t>{-128, 0, 127}));
  EXPECT_EQ(get<std::vector<std::uint16_t>>(file, "array.u16"), (std::vector<std::uint16_t>{0, 65535}));
  EXPECT_EQ(get<std::vector<std::int16_t>>(file, "array.i16"), (std::vector<std::int16_t>{-32768, 32767}));
  EXPECT_EQ(get<std::vector<std::uint32_t>>(file, "array.u32"), (std::vector<std::uint32_t>{0, UINT32_MAX}));
  EXPECT_EQ(get<std::vector<std::int32_t>>(file, "array.i32"), (std::vector<std::int32_t>{INT32_MIN, INT32_MAX}));
  EXPECT_EQ(get<std::vector<float>>(file, "array.f32"), (std::vector<float>{0.5f, -0.25f, 0.1f}));
  EXPECT_EQ(get<std::vector<bool>>(file, "array.bool"), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(get<std::vector<std::string>>(file, "array.string"), (std::vector<std::string>{"", "a", "éè"}));
  EXPECT_EQ(get<std::vector<std::uint64_t>>(file, "array.u64"), (std::vector<std::uint64_t>{0, UINT64_MAX}));
  EXPECT_EQ(get<std::vector<std::int64_t>>(file, "array.i64"), (std::vector<std::int64_t>{INT64_MIN, INT64_MAX}));
  EXPECT_EQ(get<std::vector<double>>(file, "array.f64"), (std::vector<double>{0.5, 0.1}));
  const auto nested = get<std::vector<MetadataArray>>(file, "array.nested");
  ASSERT_EQ(nested.size(), 3u);
  EXPECT_EQ(std::get<std::vector<std::int32_t>>(nested[0].value), (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(std::get<std::vector<std::string>>(nested[2].value), (std::vector<std::string>{"x", "y"}));

  const std::vector<float> plain = {0, 0.125f, 0.25f, 0.375f, 0.5f, 0.625f};
  ASSERT_NE(file.tensors.find("plain.f32"), nullptr);
  EXPECT_EQ(file.tensors.find("plain.f32")->shape, (Shape{2, 3}));
  EXPECT_EQ(decode(*file.tensors.find("plain.f32")), plain);
  EXPECT_EQ(file.tensors.find("plain.f16")->type, DType::kF16);
  EXPECT_EQ(file.tensors.find("plain.f16")->shape, (Shape{1, 3, 2}));
  EXPECT_EQ(decode(*file.tensors.find("plain.f16")), plain);
  const Json expected = parse_json(bytes_of_file(kFixtures + "every_type.q8_0.json"), "every_type.q8_0.json");
  EXPECT_EQ(file.tensors.find("blocks.q8_0")->shape, (Shape{3, 64}));
  EXPECT_EQ(decode(*file.tensors.find("blocks.q8_0")), expected.get<std::vector<float>>());
}

class GgufFileTest : public ::testing::Test {
 protected:
  std::string written(const Metadata& metadata, const std::vector<TensorToWrite>& tensors) const {
    write_gguf(directory_.path("w.gguf"), metadata, tensors);
    return bytes_of_file(directory_.path("w.gguf"));
  }
  std::string writing(const Metadata& metadata, const std::vector<TensorToWrite>& tensors) const {
    return error_of([&] { written(metadata, tensors); });
  }
  // A small file with one entry of each kind and two tensors.
  std::string small() const {
    Metadata metadata;
    metadata.set("name", std::string("small"));
    metadata.set("numbers", std::vector<std::uint16_t>{1, 2, 3});
    metadata.set("words", std::vector<std::string>{"x", "yz"});
    metadata.set("flag", true);
    metadata.set("lists", std::vector<MetadataArray>{{std::vector<std::int32_t>{7}}});
    return written(
        metadata, {to_write("a", make_tensor({2, 3}, {0, 1, 2, 3, 4, 5})), to_write("b", make_tensor({3}, {7, 8, 9}))});
  }

  TestDirectory directory_;
};

TEST_F(GgufFileTest, RoundTripKeepsEveryValueInOrder) {
  const GgufFile original = open_gguf(kFixtures + "every_type.gguf");
  std::vector<TensorToWrite> tensors;
  for (const NamedTensor& tensor : original.tensors.all()) tensors.push_back(to_write(tensor.name, tensor.tensor));
  Metadata metadata = original.metadata;
  metadata.set("array.empty", std::vector<std::string>());
  metadata.set("array.deep", std::vector<MetadataArray>{{std::vector<MetadataArray>{{std::vector<float>{1}}}},
                                                        {std::vector<std::int8_t>{}}});
  const GgufFile copy = parse(written(metadata, tensors));
  EXPECT_TRUE(copy.metadata.entries() == metadata.entries());
  ASSERT_EQ(copy.tensors.size(), original.tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const NamedTensor& a = original.tensors.all()[i];
    const NamedTensor& b = copy.tensors.all()[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.tensor.type, b.tensor.type);
    EXPECT_EQ(a.tensor.shape, b.tensor.shape);
    EXPECT_EQ(decode(a.tensor), decode(b.tensor));
  }
}

TEST_F(GgufFileTest, RewritingGgufPysFileGivesItsBytes) {
  const GgufFile original = open_gguf(kFixtures + "every_type.gguf");
  std::vector<TensorToWrite> tensors;
  for (const NamedTensor& tensor : original.tensors.all()) tensors.push_back(to_write(tensor.name, tensor.tensor));
  EXPECT_TRUE(written(original.metadata, tensors) == bytes_of_file(kFixtures + "every_type.gguf"));
}

TEST_F(GgufFileTest, AlignmentIsHonoured) {
  Metadata metadata;
  metadata.set("general.alignment", std::uint32_t{4096});
  const Tensor ones = make_tensor({3}, {1, 1, 1});
  written(metadata, {to_write("a", ones), to_write("b", ones)});
  const GgufFile file = open_gguf(directory_.path("w.gguf"));
  EXPECT_EQ(file.alignment, 4096u);
  for (const NamedTensor& tensor : file.tensors.all()) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.tensor.bytes.data()) % 4096, 0u);
    EXPECT_EQ(decode(tensor.tensor), decode(ones));
  }
  for (const std::uint32_t bad : {0u, 4u, 24u, 48u}) {
    metadata.set("general.alignment", bad);
    EXPECT_NE(writing(metadata, {}).find("general.alignment is"), std::string::npos) << bad;
  }
}

TEST_F(GgufFileTest, ProducersStreamAndProgressCounts) {
  std::vector<std::uint64_t> progress;
  const TensorToWrite rows{"rows", DType::kF32, {4, 2}, [](const ByteSink& sink) {
                             for (float r = 0; r < 4; ++r) {
                               const float row[2] = {r, -r};
                               sink(std::as_bytes(std::span(row)));
                             }
                           }};
  write_gguf(directory_.path("w.gguf"), {}, {rows}, [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(total, 32u);
    progress.push_back(done);
  });
  EXPECT_EQ(progress, (std::vector<std::uint64_t>{8, 16, 24, 32}));
  EXPECT_EQ(decode(*open_gguf(directory_.path("w.gguf")).tensors.find("rows")),
            (std::vector<float>{0, 0, 1, -1, 2, -2, 3, -3}));
}

TEST_F(GgufFileTest, WriterRefusesWhatReadersWould) {
  const Tensor one = make_tensor({1}, {1});
  const std::string file = directory_.path("w.gguf");
  EXPECT_EQ(writing({}, {to_write("a", one), to_write("a", one)}), file + ": tensor \"a\" is given twice");
  EXPECT_EQ(writing({}, {{"a", DType::kF32, {1, 1, 1, 1, 1}, nullptr}}),
            file + ": tensor \"a\" has shape [1, 1, 1, 1, 1], expected one to four dimensions");
  EXPECT_EQ(writing({}, {{"a", DType::kF8E4M3, {1}, nullptr}}),
            file + ": tensor \"a\" has type f8_e4m3, which GGUF does not have");
  EXPECT_EQ(writing({}, {{"a", DType::kQ8_0, {2, 33}, nullptr}}),
            file + ": tensor \"a\" has shape [2, 33], expected rows of a multiple of 32 values for q8_0");
  EXPECT_EQ(writing({}, {to_write(std::string(64, 'n'), one)}),
            file + ": tensor \"" + std::string(64, 'n') + "\" has a name of 64 bytes, expected at most 63");
  const auto produce = [](std::size_t count) {
    return [count](const ByteSink& sink) { sink(std::vector<std::byte>(count)); };
  };
  EXPECT_EQ(writing({}, {{"a", DType::kF32, {2}, produce(7)}}), file + ": tensor \"a\" was given 7 bytes, expected 8");
  EXPECT_EQ(writing({}, {{"a", DType::kF32, {2}, produce(9)}}), file + ": tensor \"a\" was given 9 bytes, expected 8");
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(GgufFileTest, EveryTruncationIsRefused) {
  const std::string whole = small();
  EXPECT_EQ(parse(whole).tensors.size(), 2u);
  std::size_t last_data_byte = whole.size();
  while (whole[last_data_byte - 1] == 0) --last_data_byte;  // padding after the last tensor may be missing
  for (std::size_t size = 0; size < last_data_byte; ++size) {
    const std::string message = error_of_parsing(whole.substr(0, size));
    EXPECT_TRUE(message.starts_with("f.gguf: ")) << size << ": " << message;
  }
}

TEST_F(GgufFileTest, EveryChangedByteIsReadOrRefusedButNeverCrashes) {
  const std::string whole = small();
  int refused = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const char byte : {'\x00', '\x01', '\x7f', '\x80', '\xff'}) {
      std::string changed = whole;
      changed[i] = byte;
      try {
        const GgufFile file = parse(changed);
        for (const NamedTensor& tensor : file.tensors.all()) decode(tensor.tensor);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 500);
}

// Builds headers by hand for what no writer would write.
class Hostile {
 public:
  explicit Hostile(std::uint64_t tensors = 0, std::uint64_t entries = 0, std::uint32_t version = 3) {
    bytes_ = "GGUF";
    number(version).number(tensors).number(entries);
  }
  template <class T>
  Hostile& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Hostile& string(std::string_view text) {
    number(std::uint64_t{text.size()});
    bytes_ += text;
    return *this;
  }
  Hostile& tensor(std::string_view name, std::vector<std::uint64_t> dimensions, std::uint32_t type,
                  std::uint64_t offset) {
    string(name).number(static_cast<std::uint32_t>(dimensions.size()));
    for (const std::uint64_t dimension : dimensions) number(dimension);
    return number(type).number(offset);
  }
  Hostile& zeros(std::size_t count) {
    bytes_.append(count, '\0');
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

TEST(GgufHostile, OtherFilesAndVersionsAreRefusedByName) {
  EXPECT_EQ(error_of_parsing(""), "f.gguf: is not a GGUF file: begins with \"\", expected \"GGUF\"");
  EXPECT_EQ(error_of_parsing("ggjt1234"), "f.gguf: is not a GGUF file: begins with \"ggjt\", expected \"GGUF\"");
  EXPECT_EQ(error_of_parsing(Hostile(0, 0, 1).bytes()), "f.gguf: GGUF version is 1, expected 2 or 3");
  EXPECT_EQ(error_of_parsing(Hostile(0, 0, 4).bytes()), "f.gguf: GGUF version is 4, expected 2 or 3");
  EXPECT_EQ(error_of_parsing(Hostile(0, 0, 0x03000000).bytes()),
            "f.gguf: is a big-endian GGUF file, expected a little-endian one");
  EXPECT_EQ(parse(Hostile(0, 0, 2).bytes()).version, 2u);
}

TEST(GgufHostile, CountsBeyondTheFileAreRefusedBeforeAllocation) {
  EXPECT_EQ(error_of_parsing(Hostile(UINT64_MAX, 0).bytes()),
            "f.gguf: tensor count at byte 24 holds 18446744073709551615 items of at least 24 bytes, expected to fit in "
            "the 0 bytes left of the file");
  EXPECT_NE(error_of_parsing(Hostile(0, UINT64_MAX).bytes()).find("metadata count"), std::string::npos);
  const auto with_array = [](std::uint32_t type, std::uint64_t count) {
    return error_of_parsing(Hostile(0, 1).string("k").number(std::uint32_t{9}).number(type).number(count).bytes());
  };
  for (std::uint32_t type = 0; type <= 12; ++type) {
    for (const std::uint64_t count : {UINT64_MAX, std::uint64_t{1} << 61, std::uint64_t{1}}) {
      EXPECT_TRUE(with_array(type, count).starts_with("f.gguf: k at byte ")) << type << " " << count;
    }
  }
  EXPECT_EQ(with_array(13, 1), "f.gguf: k has value type 13, expected 0..12");
  EXPECT_TRUE(error_of_parsing(Hostile(0, 1).number(UINT64_MAX - 7).zeros(8).bytes())
                  .starts_with("f.gguf: a metadata key at byte 32 holds 18446744073709551608 bytes"));
}

TEST(GgufHostile, BadMetadataIsRefused) {
  const auto entry = [](Hostile& file, std::string_view key) -> Hostile& {
    return file.string(key).number(std::uint32_t{0}).number(std::uint8_t{1});
  };
  Hostile twice(0, 2);
  entry(entry(twice, "k"), "k");
  EXPECT_EQ(error_of_parsing(twice.bytes()), "f.gguf: metadata key k is given twice");
  EXPECT_EQ(error_of_parsing(Hostile(0, 1).string("k").number(std::uint32_t{7}).number(std::uint8_t{2}).bytes()),
            "f.gguf: k is bool 2, expected 0 or 1");
  EXPECT_EQ(error_of_parsing(Hostile(0, 1).string("k").number(std::uint32_t{99}).zeros(8).bytes()),
            "f.gguf: k has value type 99, expected 0..12");
  Hostile deep(0, 1);
  deep.string("k").number(std::uint32_t{9});
  for (int level = 0; level < 100000; ++level) deep.number(std::uint32_t{9}).number(std::uint64_t{1});
  EXPECT_EQ(error_of_parsing(deep.bytes()), "f.gguf: k nests arrays deeper than 8 levels");
  for (const std::uint32_t alignment : {0u, 1u, 7u, 24u}) {
    const std::string message =
        error_of_parsing(Hostile(0, 1).string("general.alignment").number(std::uint32_t{4}).number(alignment).bytes());
    EXPECT_TRUE(message.starts_with("f.gguf: general.alignment is ")) << message;
  }
}

TEST(GgufHostile, BadTensorsAreRefusedByName) {
  const auto one = [](std::vector<std::uint64_t> dimensions, std::uint32_t type, std::uint64_t offset) {
    return error_of_parsing(Hostile(1).tensor("t", std::move(dimensions), type, offset).zeros(256).bytes());
  };
  EXPECT_EQ(one({8}, 0, 0), "no error");
  EXPECT_EQ(one({8}, 99, 0), "f.gguf: tensor \"t\" has type 99, which is unknown here");
  EXPECT_EQ(one({8}, 0x10000, 0), "f.gguf: tensor \"t\" has type 65536, which is unknown here");
  EXPECT_EQ(one({1, 1, 1, 1, 1}, 0, 0), "f.gguf: tensor \"t\" has 5 dimensions, expected at most 4");
  EXPECT_EQ(one({8}, 0, 5), "f.gguf: tensor \"t\" has offset 5, expected a multiple of 32");
  EXPECT_TRUE(one({8}, 0, 1024).starts_with("f.gguf: tensor \"t\" has 32 bytes at offset 1024, expected to end"));
  EXPECT_TRUE(one({8}, 0, UINT64_MAX - 31).starts_with("f.gguf: tensor \"t\" has 32 bytes at offset"));
  EXPECT_TRUE(one({1000}, 0, 0).starts_with("f.gguf: tensor \"t\" has 4000 bytes at offset 0"));
  EXPECT_EQ(one({33}, 8, 0), "f.gguf: tensor \"t\" has shape [33], expected rows of a multiple of 32 values for q8_0");
  EXPECT_EQ(one({UINT64_MAX}, 0, 0),
            "f.gguf: tensor \"t\" has a dimension of 18446744073709551615, expected less than 2^62");
  const std::uint64_t big = std::uint64_t{1} << 40;
  EXPECT_EQ(one({big, big}, 0, 0),
            "f.gguf: tensor \"t\" has shape [1099511627776, 1099511627776], expected fewer than 2^62 values");
  EXPECT_EQ(one({big, big, 0}, 0, 0),
            "f.gguf: tensor \"t\" has shape [0, 1099511627776, 1099511627776], expected fewer than 2^62 values");
  EXPECT_TRUE(one({std::uint64_t{1} << 61}, 0, 0).starts_with("f.gguf: tensor \"t\" has 9223372036854775808 bytes"));
  EXPECT_TRUE(one({std::uint64_t{1} << 61}, 28, 0).ends_with("expected fewer than 2^64 bytes"));
  EXPECT_EQ(one({}, 0, 0), "no error");
  EXPECT_EQ(error_of_parsing(Hostile(2).tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).zeros(128).bytes()),
            "f.gguf: tensor \"t\" is given twice");
  EXPECT_EQ(error_of_parsing(Hostile(2).tensor("t", {16}, 0, 0).tensor("u", {8}, 0, 32).zeros(128).bytes()),
            "f.gguf: tensor \"u\" at offset 32 overlaps tensor \"t\" of 64 bytes at offset 0");
}

TEST_F(GgufFileTest, AVocabularyOf150000LoadsFast) {
  std::vector<std::string> tokens;
  std::vector<std::string> merges;
  for (int i = 0; i < 150000; ++i) {
    tokens.push_back("token " + std::to_string(i));
    merges.push_back("tok en" + std::to_string(i) + " a longer second half");
  }
  Metadata metadata;
  metadata.set("tokenizer.ggml.tokens", tokens);
  metadata.set("tokenizer.ggml.merges", merges);
  metadata.set("tokenizer.ggml.token_type", std::vector<std::int32_t>(150000, 1));
  written(metadata, {});
  const auto start = std::chrono::steady_clock::now();
  const GgufFile file = open_gguf(directory_.path("w.gguf"));
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  RecordProperty("load_ms", std::to_string(ms));
  EXPECT_EQ(file.metadata.strings("tokenizer.ggml.tokens"), tokens);
  EXPECT_LT(ms, 2000) << "expected some 20 ms; the bound allows for sanitizers and a busy machine";
}

}  // namespace
}  // namespace junto
