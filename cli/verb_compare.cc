// junto compare: routers beside four controls at two sizes and several budgets, run by junto-train.
#include <memory>
#include <string>
#include <vector>

#include "analyze/compare.h"
#include "cli/commands.h"
#include "cli/compare_command.h"
#include "cli/junto_train_program.h"

namespace junto {
namespace {

int start_compare(const CompareArguments& given) {
  std::vector<std::string> words = {"compare",
                                    "--routers",
                                    given.routers,
                                    "--data",
                                    given.data,
                                    "--flops",
                                    given.flops,
                                    "--budgets",
                                    std::to_string(given.budgets),
                                    "--seeds",
                                    std::to_string(given.seeds),
                                    "--runs",
                                    given.runs,
                                    "--threads",
                                    std::to_string(given.threads)};
  if (!given.budget.empty()) words.insert(words.end(), {"--budget", given.budget});
  if (given.smoke) words.emplace_back("--smoke");
  if (given.dry_run) words.emplace_back("--dry-run");
  return start_junto_train(words);
}

/// "  top1           one expert, ..." of each, controls first.
std::string list_of_routers() {
  std::string out;
  for (const CompareRouter& router : compare_routers()) {
    std::string name(router.name);
    name.resize(15, ' ');
    out += "  " + name + std::string(router.about) + (router.control ? " (always there)" : "") + "\n";
  }
  return out;
}

}  // namespace

Command compare_command(std::function<int(const CompareArguments&)> execute) {
  const auto given = std::make_shared<CompareArguments>();
  Command command;
  command.name = "compare";
  command.about = "Train routers beside four controls at two sizes and several budgets, and say how gaps change";
  command.arguments = {
      {.name = "--routers",
       .target = &given->routers,
       .value = "A,B",
       .help = "What to compare: names of the list below",
       .required = true},
      {.name = "--data",
       .target = &given->data,
       .value = "MIX",
       .help = "mix (scripts/fetch-mix), or text files with commas between; documents part at form feeds"},
      {.name = "--flops", .target = &given->flops, .value = "N", .help = "Largest budget of a run (1e11)"},
      {.name = "--budgets",
       .target = &given->budgets,
       .value = "N",
       .help = "So many budgets, each half of the next (3)",
       .low = 1,
       .high = 8},
      {.name = "--seeds", .target = &given->seeds, .value = "N", .help = "Of each arm (5)", .low = 1, .high = 1000},
      {.name = "--dry-run", .target = &given->dry_run, .help = "Print arms, FLOP, minutes and memory; run nothing"},
      {.name = "--smoke", .target = &given->smoke, .help = "Tiny shapes, to see that it runs; no result"},
      {.name = "--budget", .target = &given->budget, .value = "TIME", .help = "As of junto reproduce: 2h, 90m, 300s"},
      {.name = "--threads", .target = &given->threads, .value = "N", .help = "Of this process", .low = 1, .high = 1024},
      {.name = "--runs", .target = &given->runs, .value = "DIR", .help = "Finished runs and results (runs/compare)"}};
  command.examples =
      "  junto compare --routers top1,top2,alf_lb --flops 2e11 --dry-run\n"
      "  junto compare --routers top2,sparsemixer --data a.txt,b.txt --flops 5e10 --budget 2h\n" +
      list_of_routers();
  command.execute = [given, execute = std::move(execute)] { return execute(*given); };
  return command;
}

Command compare_command() {
  return compare_command(start_compare);
}

}  // namespace junto
