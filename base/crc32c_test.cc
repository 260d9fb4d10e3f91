#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace junto {
namespace {

std::uint32_t crc_of(std::string_view text) {
  return crc32c(std::as_bytes(std::span(text)));
}

// RFC 3720, appendix B.4, and the check value of the catalogue of parametrised CRCs.
TEST(Crc32c, IsThatOfTheStandard) {
  EXPECT_EQ(crc_of("123456789"), 0xe3069283u);
  EXPECT_EQ(crc_of(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc_of(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc_of(""), 0u);
}

TEST(Crc32c, TheInstructionAgreesWithTheTable) {
  std::vector<std::byte> bytes;
  std::uint32_t state = 1;
  for (int i = 0; i < 300; ++i) bytes.push_back(static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24));
  for (std::size_t begin = 0; begin < 9; ++begin) {
    for (std::size_t size = 0; size + begin <= bytes.size(); ++size) {
      const auto part = std::span<const std::byte>(bytes).subspan(begin, size);
      ASSERT_EQ(crc32c(part), crc32c_by_table(part)) << "from " << begin << ", " << size << " bytes";
    }
  }
}

TEST(Crc32c, EveryFlippedBitShows) {
  for (const std::size_t size : {1u, 7u, 8u, 9u, 64u}) {
    std::string text(size, 'x');
    const std::uint32_t sound = crc_of(text);
    for (std::size_t bit = 0; bit < 8 * size; ++bit) {
      text[bit / 8] = static_cast<char>(text[bit / 8] ^ 1 << bit % 8);
      EXPECT_NE(crc_of(text), sound);
      text[bit / 8] = static_cast<char>(text[bit / 8] ^ 1 << bit % 8);
    }
  }
}

}  // namespace
}  // namespace junto
