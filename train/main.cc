// junto-train: what `junto train`, `junto reproduce` and `junto compare` start, a program of its own so that junto does
// not load LibTorch.
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/compare_command.h"
#include "cli/reproduce_command.h"
#include "cli/train_command.h"
#include "train/loop/run.h"
#include "train/nn/blas.h"
#include "train/reproduce/compare.h"
#include "train/reproduce/reproduce.h"

int main(int argc, char** argv) {
  junto::keep_freed_memory();
  junto::use_threads();
  std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (arguments.empty() || (arguments.front() != "reproduce" && arguments.front() != "compare"))
    arguments.insert(arguments.begin(), "train");
  const junto::Command train = junto::train_command([](const junto::TrainArguments& given) {
    if (given.schema) return junto::print_recipe_schema();
    return junto::run_training(
        {.recipe = given.recipe, .set = given.set, .resume = given.resume, .check = given.check, .smoke = given.smoke});
  });
  const junto::Command reproduce = junto::reproduce_command(junto::reproduce);
  const junto::Command compare = junto::compare_command(junto::compare);
  return junto::run_command_line(std::vector<junto::Command>{train, reproduce, compare}, arguments);
}
