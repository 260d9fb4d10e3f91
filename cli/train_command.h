// The verb `train`: the same arguments in junto, which starts junto-train, and there, where they are carried out.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/command.h"

namespace junto {

struct TrainArguments {
  std::string recipe;
  std::vector<std::string> set;
  bool resume = false;
  bool check = false;
  bool smoke = false;
  bool schema = false;  // and no recipe
};

Command train_command(std::function<int(const TrainArguments&)> execute);

}  // namespace junto
