// junto train: starts junto-train, which stands beside junto and has LibTorch.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/train_command.h"

namespace junto {
namespace {

int start_junto_train(const TrainArguments& given) {
  std::vector<std::string> words = {"junto-train", given.recipe};
  for (const std::string& assignment : given.set) words.insert(words.end(), {"--set", assignment});
  if (given.resume) words.emplace_back("--resume");
  if (given.check) words.emplace_back("--check");
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

}  // namespace

Command train_command(std::function<int(const TrainArguments&)> execute) {
  const auto given = std::make_shared<TrainArguments>();
  Command command;
  command.name = "train";
  command.about = "Train a model from a recipe";
  command.arguments = {
      {.name = "RECIPE",
       .target = &given->recipe,
       .value = "FILE",
       .help = "A JSON file; docs/training.md lists its fields",
       .required = true},
      {.name = "--set",
       .target = &given->set,
       .value = "FIELD=VALUE",
       .help = "Another value for a field (schedule.steps=200); may be given again"},
      {.name = "--resume", .target = &given->resume, .help = "Go on from the last checkpoint in run.folder"},
      {.name = "--check",
       .target = &given->check,
       .help = "Check the recipe and its text, say their sizes, train nothing"}};
  command.examples =
      "  junto train recipes/tiny.json\n"
      "  junto train recipes/tiny.json --set schedule.steps=50 --set run.folder=/tmp/tiny\n"
      "  junto train recipes/tiny.json --resume\n";
  command.execute = [given, execute = std::move(execute)] { return execute(*given); };
  return command;
}

Command train_command() {
  return train_command(start_junto_train);
}

}  // namespace junto
