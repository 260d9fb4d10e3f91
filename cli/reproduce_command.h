// The verb `reproduce`: the same arguments in junto, which starts junto-train, and there, where they are carried out.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "cli/command.h"

namespace junto {

struct ReproduceArguments {
  std::string slug;
  std::string systems = "systems";      // the folder of all systems
  std::string runs = "runs/reproduce";  // where finished runs are kept
  std::string out;                      // the result; empty: results/<slug>.json, or in `runs` for smoke runs
  std::string arms;                     // "a,b"; empty: all
  std::optional<int> seeds;             // of each arm; empty: as declared
  std::string budget;                   // "2h"; empty: none
  std::string texts = {};               // folder of the texts; empty: the cache, or beside `systems` for smoke runs
  int threads = 1;
  bool smoke = false, dry_run = false, verify = false, json = false;
};

Command reproduce_command(std::function<int(const ReproduceArguments&)> execute);

}  // namespace junto
