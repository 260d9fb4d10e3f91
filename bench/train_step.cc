// Junto's trainer as a contender of bench/training/measure: a process that does one update when it is told to.
//
//   train_step RECIPE.json [--set a.b=c]...
//
// Every line of standard input is a command, answered by a line:
//
//   go I      one update of the run, whatever I is -> "seconds loss", the wall clock's and the batch's cross entropy
//   ids FILE  writes the training text's token ids, as 32-bit integers -> "tokens"
//   work      of the updates so far -> a JSON object: processor seconds of all, of feed-forward networks, of norm and
//             update; FLOP, bytes of weights, gradients and moments
//   Other lines are errors; the end of the input is the end.
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command_line.h"
#include "train/loop/recipe.h"
#include "train/loop/trainer.h"
#include "train/nn/blas.h"

namespace junto {
namespace {

constexpr std::size_t kMaxRecipeBytes = 1 << 20;

struct Sums {
  double seconds = 0.0, expert_seconds = 0.0, update_seconds = 0.0;
  std::int64_t updates = 0;
};

std::string go(Trainer& trainer, Sums& sums) {
  const auto begin = std::chrono::steady_clock::now();
  const StepReport report = trainer.train_step();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  sums.seconds += report.seconds, sums.expert_seconds += report.expert_seconds;
  sums.update_seconds += report.update_seconds, ++sums.updates;
  return std::to_string(seconds) + " " + std::to_string(report.loss);
}

std::string write_ids(const Trainer& trainer, const std::string& path) {
  const TokenIds& ids = trainer.text().train;
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(ids.data()), static_cast<std::streamsize>(ids.size() * sizeof(ids[0])));
  if (!file.flush()) fail(path, "cannot be written");
  return std::to_string(ids.size());
}

std::string work_of(const Trainer& trainer, const Sums& sums) {
  return Json{{"updates", sums.updates},
              {"processor_s", sums.seconds},
              {"feed_forward_s", sums.expert_seconds},
              {"update_s", sums.update_seconds},
              {"flops", trainer.ledger().flops},
              {"parameters", trainer.model().parameters().count()},
              {"state_bytes", trainer.state_bytes()}}
      .dump();
}

std::string answer(Trainer& trainer, Sums& sums, const std::string& line) {
  if (line.starts_with("go ")) return go(trainer, sums);
  if (line.starts_with("ids ")) return write_ids(trainer, line.substr(4));
  if (line == "work") return work_of(trainer, sums);
  fail("standard input", "line is \"" + line + "\", expected go I, ids FILE or work");
}

void work(const std::vector<std::string>& arguments) {
  if (arguments.empty()) fail("train_step", "no recipe, expected RECIPE.json [--set a.b=c]...");
  Json json = parse_json(read_text_file(arguments.front(), kMaxRecipeBytes), arguments.front());
  for (std::size_t i = 1; i + 1 < arguments.size(); i += 2) set_field(json, arguments[i + 1]);
  Trainer trainer(parse_recipe(json, arguments.front()));
  Sums sums;
  std::cout << "ready " << describe_blas() << std::endl;
  for (std::string line; std::getline(std::cin, line);) std::cout << answer(trainer, sums, line) << std::endl;
}

}  // namespace
}  // namespace junto

int main(int argc, char** argv) {
  try {
    junto::keep_freed_memory();
    junto::use_threads();
    junto::work({argv + 1, argv + argc});
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train_step: %s\n", error.what());
    return 1;
  }
}
