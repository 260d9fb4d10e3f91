// junto reproduce: the experiment of a published system, run by junto-train.
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/junto_train_program.h"
#include "cli/reproduce_command.h"

namespace junto {
namespace {

int start(const ReproduceArguments& given) {
  std::vector<std::string> words = {"reproduce", given.slug, "--systems", given.systems,
                                    "--runs",    given.runs, "--threads", std::to_string(given.threads)};
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) words.insert(words.end(), {name, value});
  };
  add("--out", given.out);
  add("--arms", given.arms);
  add("--budget", given.budget);
  if (given.seeds) add("--seeds", std::to_string(*given.seeds));
  if (given.smoke) words.emplace_back("--smoke");
  if (given.dry_run) words.emplace_back("--dry-run");
  if (given.verify) words.emplace_back("--verify");
  if (given.json) words.emplace_back("--json");
  return start_junto_train(words);
}

}  // namespace

Command reproduce_command(std::function<int(const ReproduceArguments&)> execute) {
  const auto given = std::make_shared<ReproduceArguments>();
  Command command;
  command.name = "reproduce";
  command.about = "Run the experiment of a published system: its arms, seeds, claims and verdicts";
  command.arguments = {
      {.name = "SLUG",
       .target = &given->slug,
       .value = "SLUG",
       .help = "A folder of systems/ with an experiment.json (docs/experiments.md)",
       .required = true},
      {.name = "--smoke", .target = &given->smoke, .help = "Seconds of everything, to see that it runs; no result"},
      {.name = "--dry-run", .target = &given->dry_run, .help = "Print arms, seeds, FLOP, minutes, memory; run nothing"},
      {.name = "--verify",
       .target = &given->verify,
       .help = "Run one finished run of the result again; every loss must be the same bits"},
      {.name = "--arms", .target = &given->arms, .value = "A,B", .help = "Only these arms"},
      {.name = "--seeds", .target = &given->seeds, .value = "N", .help = "So many seeds for every arm", .low = 1},
      {.name = "--budget",
       .target = &given->budget,
       .value = "TIME",
       .help = "Begin no seed that would end later than this (2h, 90m, 300s); the next call goes on"},
      {.name = "--threads",
       .target = &given->threads,
       .value = "N",
       .help = "Of this process; start the same command twice to run two arms at a time",
       .low = 1,
       .high = 1024},
      {.name = "--out", .target = &given->out, .value = "FILE", .help = "The result (results/SLUG.json)"},
      {.name = "--runs", .target = &given->runs, .value = "DIR", .help = "Where finished runs are kept"},
      {.name = "--systems", .target = &given->systems, .value = "DIR", .help = "The folder of all systems"},
      {.name = "--json", .target = &given->json, .help = "The result on standard output instead of tables"}};
  command.examples =
      "  junto reproduce alf-lb --dry-run\n"
      "  junto reproduce alf-lb\n"
      "  junto reproduce alf-lb --arms aux,bias --seeds 2 --out /tmp/two.json\n"
      "  junto reproduce alf-lb --verify\n";
  command.execute = [given, execute = std::move(execute)] { return execute(*given); };
  return command;
}

Command reproduce_command() {
  return reproduce_command(start);
}

}  // namespace junto
