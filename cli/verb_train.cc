// junto train: starts junto-train.
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/junto_train_program.h"
#include "cli/train_command.h"

namespace junto {
namespace {

int start_training(const TrainArguments& given) {
  if (given.schema) return start_junto_train({"--schema"});
  std::vector<std::string> words = {given.recipe};
  for (const std::string& assignment : given.set) words.insert(words.end(), {"--set", assignment});
  if (given.resume) words.emplace_back("--resume");
  if (given.check) words.emplace_back("--check");
  if (given.smoke) words.emplace_back("--smoke");
  return start_junto_train(words);
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
       .help = "A JSON file; docs/training.md lists its fields, --schema too"},
      {.name = "--set",
       .target = &given->set,
       .value = "FIELD=VALUE",
       .help = "Another value for a field (schedule.steps=200); may be given again"},
      {.name = "--resume", .target = &given->resume, .help = "Go on from the last checkpoint in run.folder"},
      {.name = "--check",
       .target = &given->check,
       .help = "Check the recipe and its text, say their sizes, train nothing"},
      {.name = "--smoke",
       .target = &given->smoke,
       .help = "Ten steps at most, in run.folder with -smoke behind it, begun anew"},
      {.name = "--schema",
       .target = &given->schema,
       .help = "Print the JSON Schema of recipes, which recipes/recipe.schema.json holds too"}};
  command.examples =
      "  junto train recipes/tiny.json\n"
      "  junto train recipes/tiny.json --set schedule.steps=50 --set run.folder=/tmp/tiny\n"
      "  junto train recipes/tiny.json --resume\n";
  command.execute = [given, execute = std::move(execute)] {
    if (given->recipe.empty() && !given->schema) fail("", "junto train needs RECIPE; see junto train --help");
    return execute(*given);
  };
  return command;
}

Command train_command() {
  return train_command(start_training);
}

}  // namespace junto
