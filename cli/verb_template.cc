#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/session.h"
#include "cli/template.h"

namespace junto {

Command template_command() {
  struct Options {
    TemplateOptions verb;
    bool jsonl = false;
  };
  const auto options = std::make_shared<Options>();
  Command command;
  command.name = "template";
  command.about = "Conversations on standard input to the text that a model reads";
  command.arguments = {
      {.name = "MODEL",
       .target = &options->verb.source,
       .value = "MODEL",
       .help = "GGUF file, Hugging Face directory, or a file with a Jinja template",
       .required = true},
      {.name = "--jsonl", .target = &options->jsonl, .help = "One JSON object a line; the only form there is"}};
  command.examples =
      "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}' |\n"
      "    junto template smollm2 --jsonl\n"
      "Lines have \"messages\" and perhaps \"tools\", \"add_generation_prompt\", \"bos_token\", \"eos_token\";\n"
      "each gives {\"rendered\": ...} or {\"error\": ...}.\n";
  command.execute = [options] {
    options->verb.source = model_path(options->verb.source);
    return run_template(options->verb, std::cin, std::cout);
  };
  return command;
}

}  // namespace junto
