#include "cli/commands.h"

namespace junto {

std::vector<Command> all_commands() {
  return {run_command(),        chat_command(),    logits_command(),    tokenize_command(),  template_command(),
          perplexity_command(), inspect_command(), convert_command(),   quantize_command(),  carve_command(),
          synth_command(),      train_command(),   reproduce_command(), compare_command(),   report_command(),
          bench_command(),      trace_command(),   simulate_command(),  fit_command(),       pack_command(),
          unpack_command(),     fetch_command(),   tokenizer_command(), completion_command()};
}

}  // namespace junto
