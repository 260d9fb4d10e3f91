// For the tests of this room: a directory that vanishes, and the text of an error.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/error.h"

namespace junto {

class TestDirectory {
 public:
  TestDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "junto-format-XXXXXX").string();
    if (!mkdtemp(pattern.data())) fail(pattern, "cannot be made");
    directory_ = pattern;
  }
  ~TestDirectory() { std::filesystem::remove_all(directory_); }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;

  const std::string& path() const { return directory_; }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string put(const std::string& name, std::string_view text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }

 private:
  std::string directory_;
};

/// The message of the Error that `action` throws.
template <class Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace junto
