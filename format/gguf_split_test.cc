#include <gtest/gtest.h>

#include <filesystem>

#include "format/gguf.h"
#include "format/test_directory.h"

namespace junto {
namespace {

class GgufSplitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int number = 0; number < 3; ++number) write_part(number, number, 3, 3, "t" + std::to_string(number));
  }
  std::string part(int number) const {
    return directory_.path("model-0000" + std::to_string(number + 1) + "-of-00003.gguf");
  }
  void write_part(int file, int number, int count, int tensor_count, const std::string& tensor) const {
    Metadata metadata;
    if (number == 0) metadata.set("general.architecture", std::string("llama"));
    metadata.set("split.no", static_cast<std::uint16_t>(number));
    metadata.set("split.count", static_cast<std::uint16_t>(count));
    metadata.set("split.tensors.count", static_cast<std::int32_t>(tensor_count));
    write_gguf(part(file), metadata, {to_write(tensor, make_tensor({1}, {static_cast<float>(number)}))});
  }
  std::string opening(int number) const {
    return error_of([&] { open_gguf(part(number)); });
  }

  TestDirectory directory_;
};

TEST_F(GgufSplitTest, AnyPartOpensAll) {
  for (int opened = 0; opened < 3; ++opened) {
    const GgufFile file = open_gguf(part(opened));
    EXPECT_EQ(file.metadata.string("general.architecture"), "llama");
    EXPECT_EQ(file.metadata.entries().size(), 1u) << "split.* keys describe files, not the model";
    ASSERT_EQ(file.tensors.size(), 3u);
    for (int number = 0; number < 3; ++number) {
      EXPECT_EQ(file.tensors.all()[static_cast<std::size_t>(number)].name, "t" + std::to_string(number));
      EXPECT_EQ(decode(file.tensors.all()[static_cast<std::size_t>(number)].tensor)[0], static_cast<float>(number));
    }
  }
}

TEST_F(GgufSplitTest, AMissingPartIsNamed) {
  std::filesystem::remove(part(1));
  EXPECT_EQ(opening(0), part(1) + ": cannot open: No such file or directory (part 2 of 3)");
  EXPECT_EQ(opening(2), part(1) + ": cannot open: No such file or directory (part 2 of 3)");
}

TEST_F(GgufSplitTest, PartsThatDoNotBelongTogetherAreRefused) {
  write_part(1, 2, 3, 3, "t1");
  EXPECT_EQ(opening(0), part(1) + ": holds part 3 of 3, expected part 2 of 3");
  write_part(1, 1, 4, 3, "t1");
  EXPECT_EQ(opening(0), part(1) + ": holds part 2 of 4, expected part 2 of 3");
  write_part(1, 1, 3, 3, "t0");
  EXPECT_EQ(opening(0), part(1) + ": tensor \"t0\" is already in an earlier part");
  write_part(1, 1, 3, 3, "t1");
  write_part(0, 0, 3, 5, "t0");
  EXPECT_EQ(opening(0), part(0) + ": split.tensors.count is 5, but the parts hold 3 tensors");
}

TEST_F(GgufSplitTest, ARenamedPartSaysHowItShouldBeNamed) {
  const std::string renamed = directory_.path("renamed.gguf");
  std::filesystem::rename(part(1), renamed);
  EXPECT_EQ(error_of([&] { open_gguf(renamed); }),
            renamed + ": holds part 2 of 3, expected a file name that ends in -00002-of-00003.gguf");
}

TEST_F(GgufSplitTest, OnePartOfOneIsAWholeFile) {
  Metadata metadata;
  metadata.set("split.no", std::uint16_t{0});
  metadata.set("split.count", std::uint16_t{1});
  write_gguf(directory_.path("any-name.gguf"), metadata, {to_write("t", make_tensor({1}, {1}))});
  EXPECT_EQ(open_gguf(directory_.path("any-name.gguf")).tensors.size(), 1u);
}

}  // namespace
}  // namespace junto
