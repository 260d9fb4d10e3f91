// The verb `compare`: the same arguments in junto, which starts junto-train, and there, where they are carried out.
#pragma once

#include <functional>
#include <string>

#include "cli/command.h"

namespace junto {

struct CompareArguments {
  std::string routers;         // "top1,alf_lb": names of compare_routers()
  std::string data = "mix";    // or "a.txt,b.txt"
  std::string flops = "1e11";  // the largest budget of a run
  int budgets = 3;
  int seeds = 5;
  std::string runs = "runs/compare";  // where finished runs, the experiment and the result are kept
  std::string budget;                 // of time: "2h"; empty: none
  int threads = 1;
  bool smoke = false, dry_run = false;
};

Command compare_command(std::function<int(const CompareArguments&)> execute);

}  // namespace junto
