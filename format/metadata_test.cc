#include "format/metadata.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "format/test_directory.h"

namespace junto {
namespace {

Metadata sample() {
  Metadata metadata("m.gguf");
  metadata.set("u8", std::uint8_t{200});
  metadata.set("i16", std::int16_t{-5});
  metadata.set("u64", std::numeric_limits<std::uint64_t>::max());
  metadata.set("f32", 0.5f);
  metadata.set("nan", std::nan(""));
  metadata.set("yes", true);
  metadata.set("name", std::string("olmoe"));
  metadata.set("layers", std::vector<std::uint32_t>{3, 5, 8});
  metadata.set("scores", std::vector<float>{0.5f, -1.0f});
  metadata.set("mask", std::vector<bool>{true, false});
  metadata.set("tokens", std::vector<std::string>{"a", "b"});
  return metadata;
}

TEST(Metadata, IntegersConvertBetweenWidths) {
  const Metadata metadata = sample();
  EXPECT_EQ(metadata.integer("u8"), 200);
  EXPECT_EQ(metadata.integer("i16"), -5);
  EXPECT_EQ(metadata.integer("absent"), std::nullopt);
  EXPECT_EQ(metadata.integer("u8", 0, 200), 200);
}

TEST(Metadata, ErrorsNameFileKeyFoundAndExpected) {
  const Metadata metadata = sample();
  EXPECT_EQ(error_of([&] { metadata.integer("u8", 1, 8); }), "m.gguf: u8 is u8 200, expected an integer in 1..8");
  EXPECT_EQ(error_of([&] { metadata.integer("absent", 1, 8); }),
            "m.gguf: absent is missing, expected an integer in 1..8");
  EXPECT_EQ(error_of([&] { metadata.integer("u64"); }), "m.gguf: u64 is u64 18446744073709551615, expected an integer");
  EXPECT_EQ(error_of([&] { metadata.integer("f32"); }), "m.gguf: f32 is f32 0.5, expected an integer");
  EXPECT_EQ(error_of([&] { metadata.integer("yes"); }), "m.gguf: yes is bool true, expected an integer");
  EXPECT_EQ(error_of([&] { metadata.integer("layers"); }), "m.gguf: layers is u32[3], expected an integer");
  EXPECT_EQ(error_of([&] { metadata.number("name"); }), "m.gguf: name is string \"olmoe\", expected a number");
  EXPECT_EQ(error_of([&] { metadata.number("nan", 0, 1); }), "m.gguf: nan is f64 nan, expected a number in 0..1");
  EXPECT_EQ(error_of([&] { metadata.number("absent", 0, 1); }), "m.gguf: absent is missing, expected a number in 0..1");
  EXPECT_EQ(error_of([&] { metadata.boolean("u8"); }), "m.gguf: u8 is u8 200, expected a bool");
  EXPECT_EQ(error_of([&] { metadata.string("tokens"); }), "m.gguf: tokens is string[2], expected a string");
  EXPECT_EQ(error_of([&] { metadata.required_string("absent"); }), "m.gguf: absent is missing, expected a string");
  EXPECT_EQ(error_of([&] { metadata.integers("scores"); }), "m.gguf: scores is f32[2], expected an array of integers");
  EXPECT_EQ(error_of([&] { metadata.numbers("tokens"); }), "m.gguf: tokens is string[2], expected an array of numbers");
  EXPECT_EQ(error_of([&] { metadata.booleans("layers"); }), "m.gguf: layers is u32[3], expected an array of bools");
  EXPECT_EQ(error_of([&] { metadata.strings("name"); }),
            "m.gguf: name is string \"olmoe\", expected an array of strings");
}

TEST(Metadata, NumbersTakeIntegersToo) {
  const Metadata metadata = sample();
  EXPECT_EQ(metadata.number("f32"), 0.5);
  EXPECT_EQ(metadata.number("i16"), -5.0);
  EXPECT_EQ(metadata.number("f32", 0, 1), 0.5);
  EXPECT_EQ(metadata.number("absent"), std::nullopt);
}

TEST(Metadata, AScalarIsAnArrayOfOne) {
  const Metadata metadata = sample();
  EXPECT_EQ(metadata.integers("layers"), (std::vector<std::int64_t>{3, 5, 8}));
  EXPECT_EQ(metadata.integers("u8"), (std::vector<std::int64_t>{200}));
  EXPECT_TRUE(metadata.integers("absent").empty());
  EXPECT_EQ(metadata.numbers("scores"), (std::vector<double>{0.5, -1}));
  EXPECT_EQ(metadata.numbers("layers"), (std::vector<double>{3, 5, 8}));
  EXPECT_EQ(metadata.booleans("mask"), (std::vector<bool>{true, false}));
  EXPECT_EQ(metadata.booleans("yes"), (std::vector<bool>{true}));
  EXPECT_EQ(metadata.strings("tokens"), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(metadata.strings("absent").empty());
}

TEST(Metadata, SetReplacesInPlaceAndEraseKeepsOrder) {
  Metadata metadata;
  metadata.set("a", std::uint32_t{1});
  metadata.set("b", std::uint32_t{2});
  metadata.set("c", std::uint32_t{3});
  metadata.set("a", std::string("one"));
  EXPECT_FALSE(metadata.add("c", true));
  EXPECT_TRUE(metadata.erase("b"));
  EXPECT_FALSE(metadata.erase("b"));
  ASSERT_EQ(metadata.entries().size(), 2u);
  EXPECT_EQ(metadata.entries()[0].first, "a");
  EXPECT_EQ(metadata.string("a"), "one");
  EXPECT_EQ(metadata.integer("c"), 3);
  EXPECT_EQ(metadata.find("b"), nullptr);
}

}  // namespace
}  // namespace junto
