// For the tests of this room: the built program, run as a user runs it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace junto {

struct Ran {
  int status = -1;  // exit status, or 128 + the signal that ended it
  std::string out, err;
};

/// A directory that vanishes.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "junto-cli-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) fail(pattern, "cannot be made");
    directory_ = pattern;
  }
  ~Scratch() { std::filesystem::remove_all(directory_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string put(const std::string& name, std::string_view text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }

 private:
  std::string directory_;
};

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A cache for all runs of a test program: the machine's limits are measured once.
inline const std::string& test_cache() {
  static const Scratch scratch;
  static const std::string path = scratch.path("cache");
  return path;
}

/// Runs `junto arguments...` with `input` on its standard input, no terminal, and a cache of its own.
inline Ran run_junto(const std::vector<std::string>& arguments, const std::string& input = "") {
  const Scratch scratch;
  scratch.put("in", input);
  const std::string in = scratch.path("in"), out = scratch.path("out"), err = scratch.path("err");
  const std::string& cache = test_cache();
  const pid_t child = fork();
  if (child == 0) {
    const int files[] = {open(in.c_str(), O_RDONLY), open(out.c_str(), O_CREAT | O_WRONLY, 0600),
                         open(err.c_str(), O_CREAT | O_WRONLY, 0600)};
    for (int fd = 0; fd < 3; ++fd) {
      if (dup2(files[fd], fd) < 0) _exit(126);
    }
    setenv("JUNTO_CACHE", cache.c_str(), 1);
    std::vector<char*> argv = {const_cast<char*>(JUNTO_BINARY)};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execv(JUNTO_BINARY, argv.data());
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) fail(JUNTO_BINARY, "cannot be run");
  Ran ran;
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ran.out = contents(out);
  ran.err = contents(err);
  return ran;
}

/// What `junto asked... more...` prints as JSON; it must succeed.
inline Json json_of_run(std::vector<std::string> asked, const std::vector<std::string>& more) {
  asked.insert(asked.end(), more.begin(), more.end());
  const Ran done = run_junto(asked);
  EXPECT_EQ(done.status, 0) << done.err;
  return Json::parse(done.out);
}

/// The one line of an error with status 1, without "junto: " and the line break; else a text that says what came.
inline std::string refusal_of(const std::vector<std::string>& arguments, const std::string& input = "") {
  const Ran ran = run_junto(arguments, input);
  const bool one_line = !ran.err.empty() && ran.err.find('\n') == ran.err.size() - 1;
  if (ran.status != 1 || !one_line || !ran.err.starts_with("junto: ")) {
    return "status " + std::to_string(ran.status) + ", stderr: " + ran.err;
  }
  return ran.err.substr(7, ran.err.size() - 8);
}

inline std::string checkpoint_path(const std::string& name) {
  return std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/" + name;
}

}  // namespace junto
