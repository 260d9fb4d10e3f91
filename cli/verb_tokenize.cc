#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/session.h"
#include "cli/tokenize.h"

namespace junto {

Command tokenize_command() {
  const auto options = std::make_shared<TokenizeOptions>();
  Command command;
  command.name = "tokenize";
  command.about = "Text on standard input to token ids, or back";
  command.arguments = {
      {.name = "MODEL",
       .target = &options->path,
       .value = "MODEL",
       .help = "GGUF file, Hugging Face directory or tokenizer.json",
       .required = true},
      {.name = "--special",
       .target = &options->special,
       .help = "With what the model puts around every text (BOS, EOS)"},
      {.name = "--decode", .target = &options->decode, .help = "Ids to text; control tokens are written out"},
      {.name = "--jsonl",
       .target = &options->jsonl,
       .help = "One JSON value a line: strings in and id arrays out, or the other way round"}};
  command.examples =
      "  echo -n 'Hello' | junto tokenize model.gguf --special\n"
      "  echo '[1,2,3]' | junto tokenize tokenizer.json --decode\n"
      "  printf '\"one\"\\n\"two\"\\n' | junto tokenize model.gguf --jsonl\n";
  command.execute = [options] {
    return run_tokenize(*options, open_tokenizer(model_path(options->path)), std::cin, std::cout);
  };
  return command;
}

}  // namespace junto
