// junto-train: what `junto train`, `junto reproduce` and `junto compare` start, a program of its own so that junto does
// not load LibTorch.
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cli/command_line.h"
#include "cli/compare_command.h"
#include "cli/reproduce_command.h"
#include "cli/train_command.h"
#include "train/loop/run.h"
#include "train/nn/blas.h"
#include "train/parallel/mpi_exchange.h"
#include "train/reproduce/compare.h"
#include "train/reproduce/reproduce.h"

namespace {

/// Trains with the processes that were started beside this one. What ends one of them ends all.
int train_with_others(const junto::RunRequest& request) {
  const std::unique_ptr<junto::Exchange> exchange = junto::join_processes();
  if (exchange->alone()) return junto::run_training(request);
  if (std::getenv("OMP_NUM_THREADS") == nullptr) junto::use_threads(junto::threads_beside(*exchange));
  try {
    return junto::run_training(request, *exchange);
  } catch (const std::exception& error) {
    junto::end_all_ranks(*exchange, error.what(), 1);
  }
}

void expect_to_be_alone(std::string_view verb) {
  if (!junto::join_processes()->alone()) junto::fail(verb, "is one of several processes, expected one");
}

}  // namespace

int main(int argc, char** argv) {
  junto::keep_freed_memory();
  junto::use_threads();
  std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (arguments.empty() || (arguments.front() != "reproduce" && arguments.front() != "compare"))
    arguments.insert(arguments.begin(), "train");
  const junto::Command train = junto::train_command([](const junto::TrainArguments& given) {
    if (given.schema) return junto::print_recipe_schema();
    return train_with_others(
        {.recipe = given.recipe, .set = given.set, .resume = given.resume, .check = given.check, .smoke = given.smoke});
  });
  const junto::Command reproduce = junto::reproduce_command([](const junto::ReproduceArguments& given) {
    expect_to_be_alone("junto reproduce");
    return junto::reproduce(given);
  });
  const junto::Command compare = junto::compare_command([](const junto::CompareArguments& given) {
    expect_to_be_alone("junto compare");
    return junto::compare(given);
  });
  return junto::run_command_line(std::vector<junto::Command>{train, reproduce, compare}, arguments);
}
