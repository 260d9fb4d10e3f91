#include "cli/junto_train_program.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/error.h"

namespace junto {

int start_junto_train(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"junto-train"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  // Threads that wait for work would spin: beside other work that made training ten times slower (docs/training.md).
  setenv("OMP_WAIT_POLICY", "passive", 0);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) execv((self.parent_path() / "junto-train").c_str(), argv.data());
  execvp("junto-train", argv.data());
  fail("junto-train", "stands neither beside junto nor in PATH; it is built where LibTorch is (scripts/setup train)");
}

}  // namespace junto
