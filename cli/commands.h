// All verbs of the program, one function each; cli/verb_<name>.cc holds it.
#pragma once

#include <vector>

#include "cli/command.h"

namespace junto {

Command run_command();
Command chat_command();
Command logits_command();
Command tokenize_command();
Command tokenizer_command();
Command template_command();
Command perplexity_command();
Command inspect_command();
Command convert_command();
Command carve_command();
Command quantize_command();
Command synth_command();
Command train_command();
Command reproduce_command();
Command compare_command();
Command report_command();
Command bench_command();
Command trace_command();
Command simulate_command();
Command pack_command();
Command unpack_command();
Command fit_command();
Command fetch_command();
Command completion_command();

/// In the order of `junto --help`.
std::vector<Command> all_commands();

}  // namespace junto
