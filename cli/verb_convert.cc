// junto convert and junto quantize: a checkpoint to a GGUF file.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/write_progress.h"
#include "compress/convert.h"

namespace junto {
namespace {

struct WriteOptions {
  std::string source, out;
  std::optional<std::string> type;
  std::vector<std::string> keep;
  int threads = 0;
  bool json = false;
};

int run_convert(const WriteOptions& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  ConvertOptions convert_options;
  convert_options.source = model_path(options.source);
  convert_options.out = options.out;
  convert_options.threads = options.threads;
  if (options.type) convert_options.types.type = parse_weight_type(*options.type, "--type");
  for (const std::string& rule : options.keep) convert_options.types.keep.push_back(parse_keep_rule(rule));
  WriteProgressLine line("write " + options.out);
  convert_options.progress = line.callback();
  const ConvertReport report = convert(convert_options);
  line.finish();
  if (options.json) {
    const Json out = {{"out", options.out},        {"architecture", report.architecture},
                      {"tensors", report.tensors}, {"source_bytes", report.source_bytes},
                      {"bytes", report.bytes},     {"seconds", report.seconds},
                      {"notes", report.notes}};
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  for (const std::string& note : report.notes) std::fprintf(stderr, "junto: %s\n", note.c_str());
  std::printf("%s: %s, %zu tensors, %s (source %s)\n", options.out.c_str(), report.architecture.c_str(), report.tensors,
              format_quantity(static_cast<double>(report.bytes), "B").c_str(),
              format_quantity(static_cast<double>(report.source_bytes), "B").c_str());
  return 0;
}

Command write_command(const std::shared_ptr<WriteOptions>& options) {
  Command command;
  command.arguments = {{.name = "SRC",
                        .target = &options->source,
                        .value = "SRC",
                        .help = "GGUF file or Hugging Face directory",
                        .required = true},
                       {.name = "DST",
                        .target = &options->out,
                        .value = "DST",
                        .help = "The GGUF file to write: complete or not at all",
                        .required = true},
                       {.name = "--type",
                        .target = &options->type,
                        .value = "TYPE",
                        .help = "Of the matrices: f32, f16, bf16, q8_0, q4_0, q4_k and so on"},
                       {.name = "--keep",
                        .target = &options->keep,
                        .value = "PATTERN=TYPE",
                        .help = "Tensors whose names match get TYPE; may be given several times"},
                       threads_argument(options->threads),
                       json_argument(options->json)};
  command.execute = [options] { return run_convert(*options); };
  return command;
}

}  // namespace

Command convert_command() {
  Command command = write_command(std::make_shared<WriteOptions>());
  command.name = "convert";
  command.about = "Write a checkpoint as a GGUF file";
  command.examples =
      "  junto convert path/to/huggingface-model model.gguf\n"
      "  junto convert path/to/huggingface-model model-q8.gguf --type q8_0\n"
      "Without --type the tensors keep their types. Rows that do not fit a type's blocks become Q8_0 or F16, and it\n"
      "says so.\n";
  return command;
}

Command quantize_command() {
  Command command = write_command(std::make_shared<WriteOptions>());
  command.name = "quantize";
  command.about = "Write a checkpoint with smaller weights";
  for (Argument& argument : command.arguments) {
    if (argument.name == "--type") argument.required = true;
  }
  command.examples =
      "  junto quantize model.gguf model-q4.gguf --type q4_0\n"
      "  junto quantize moe.gguf moe-q4.gguf --type q4_k --keep '*attn*=q8_0' --keep 'output.weight=q6_k'\n"
      "Norms and biases stay F32, and so do routers unless --keep names them. The last rule that matches wins.\n";
  return command;
}

}  // namespace junto
