#include <memory>

#include "cli/commands.h"
#include "cli/fetch.h"

namespace junto {

Command fetch_command() {
  const auto options = std::make_shared<FetchOptions>();
  Command command;
  command.name = "fetch";
  command.about = "Bring a model into the cache, by the registry's own client";
  command.arguments = {{.name = "NAME",
                        .target = &options->name,
                        .value = "NAME",
                        .help = "What to fetch; without it, list what there is"},
                       {.name = "--json", .target = &options->json, .help = "Print JSON"}};
  command.examples =
      "  junto fetch\n"
      "  junto fetch smollm2\n"
      "  junto run smollm2 -p 'Hello'\n";
  command.execute = [options] { return run_fetch(*options); };
  return command;
}

}  // namespace junto
