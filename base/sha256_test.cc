#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "base/file.h"

namespace junto {
namespace {

std::string digest(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.hex_digest();
}

// The examples that NIST publishes for FIPS 180-4: one block, two blocks, a long message; and the empty one.
TEST(Sha256, NistVectors) {
  EXPECT_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesMakeTheSameDigestAtEveryLengthAroundABlock) {
  for (std::size_t size = 0; size <= 130; ++size) {
    const std::string text(size, 'x');
    const std::string whole = digest(text);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{63}, std::size_t{64}}) {
      Sha256 hash;
      for (std::size_t at = 0; at < size; at += piece) hash.update(std::string_view(text).substr(at, piece));
      EXPECT_EQ(hash.hex_digest(), whole) << size << " bytes in pieces of " << piece;
    }
  }
}

TEST(Sha256, FilesAndMissingFiles) {
  const std::string path = testing::TempDir() + "/sha256_test.txt";
  AtomicFile file(path);
  file.write(std::string_view("abc"));
  file.commit();
  EXPECT_EQ(sha256_of_file(path), digest("abc"));
  EXPECT_THROW(sha256_of_file(path + ".missing"), Error);
}

}  // namespace
}  // namespace junto
