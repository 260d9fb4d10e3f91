#include "base/mapped_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"

namespace junto {
namespace {

constexpr std::size_t kPage = 4096;

/// How many of this process's pages in the span are mapped to memory now, by /proc/self/pagemap.
std::size_t present_pages(std::span<const std::byte> bytes) {
  const int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  std::size_t present = 0;
  for (std::size_t at = 0; at < bytes.size(); at += kPage) {
    std::uint64_t entry = 0;
    const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(&bytes[at]) / kPage;
    if (pread(map, &entry, sizeof entry, static_cast<off_t>(page * sizeof entry)) == sizeof entry)
      present += entry >> 63;
  }
  close(map);
  return present;
}

TEST(ReleaseMappedPages, WholePagesOfAFileGoAndComeBackAndOtherMemoryStays) {
  const std::string path = (std::filesystem::temp_directory_path() / "junto-mapped-pages-test").string();
  std::ofstream(path) << std::string(8 * kPage, 'x');
  const MappedFile file(path);
  std::filesystem::remove(path);
  const auto sum = [](std::span<const std::byte> bytes) { return std::ranges::count(bytes, std::byte{'x'}); };
  ASSERT_EQ(sum(file.bytes()), 8 * kPage);
  ASSERT_EQ(present_pages(file.bytes()), 8u);
  release_mapped_pages(file.bytes().subspan(1, 3 * kPage));  // pages 1 and 2 are within
  EXPECT_EQ(present_pages(file.bytes()), 6u);
  EXPECT_EQ(sum(file.bytes()), 8 * kPage);
  const std::vector<std::byte> own(4 * kPage, std::byte{'x'});
  release_mapped_pages(own);
  EXPECT_EQ(sum(own), 4 * kPage);
  release_mapped_pages({});
}

}  // namespace
}  // namespace junto
