#include "cli/commands.h"

namespace junto {

std::vector<Command> all_commands() {
  return {logits_command(),   perplexity_command(), inspect_command(),   bench_command(),
          tokenize_command(), fetch_command(),      completion_command()};
}

}  // namespace junto
