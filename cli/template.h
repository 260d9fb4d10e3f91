// junto template MODEL|FILE.jinja --jsonl: conversations to the text that a model reads, a JSON object a line.
#pragma once

#include <iosfwd>
#include <string>

namespace junto {

struct TemplateOptions {
  std::string source;  // a model (GGUF file or directory), or a file with a template
};

/// Reads objects {"messages":, "tools":, "documents":, "add_generation_prompt":, "bos_token":, "eos_token":} from `in`,
/// one a line; other keys are variables of the template. Writes {"rendered":} or {"error":} to `out`, one line for each
/// (empty lines are skipped), also where the template itself does not parse. bos_token and eos_token are the model's
/// where they are not given. Throws Error where there is no template to be read. Returns the exit status, 0.
int run_template(const TemplateOptions& options, std::istream& in, std::ostream& out);

}  // namespace junto
