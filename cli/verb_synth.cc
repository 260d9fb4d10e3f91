// junto synth: a model with random weights at the shapes of a published one.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/progress.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/write_progress.h"
#include "compress/presets.h"
#include "compress/synth.h"

namespace junto {
namespace {

struct SynthVerb {
  SynthOptions synth;
  std::string type = "q4_0";
  std::vector<std::string> keep;
  bool json = false;
};

int run_synth(SynthVerb& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  options.synth.type = parse_weight_type(options.type, "--type");
  for (const std::string& rule : options.keep) options.synth.keep.push_back(parse_keep_rule(rule));
  WriteProgressLine line("write " + options.synth.out);
  options.synth.progress = line.callback();
  const SynthReport report = synthesize(options.synth);
  line.finish();
  if (options.json) {
    const Json out = {{"out", options.synth.out},  {"weights", report.weights}, {"bytes", report.bytes},
                      {"tensors", report.tensors}, {"seconds", report.seconds}, {"notes", report.notes}};
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  for (const std::string& note : report.notes) std::fprintf(stderr, "junto: %s\n", note.c_str());
  std::printf("%s: %s weights in %zu tensors, %s\n", options.synth.out.c_str(),
              format_quantity(static_cast<double>(report.weights), "").c_str(), report.tensors,
              format_quantity(static_cast<double>(report.bytes), "B").c_str());
  return 0;
}

}  // namespace

Command synth_command() {
  const auto options = std::make_shared<SynthVerb>();
  std::vector<std::string> names;
  for (const Preset& preset : presets()) names.emplace_back(preset.name);
  Command command;
  command.name = "synth";
  command.about = "Write a model with random weights at real shapes, for measurements";
  command.arguments = {
      {.name = "--preset",
       .target = &options->synth.preset,
       .help = "Whose shapes",
       .choices = names,
       .required = true},
      {.name = "--type",
       .target = &options->type,
       .value = "TYPE",
       .help = "Of the matrices: q4_0 (default), q8_0, f16 and so on"},
      {.name = "--out",
       .target = &options->synth.out,
       .value = "FILE",
       .help = "The GGUF file to write",
       .required = true},
      {.name = "--layers",
       .target = &options->synth.shape.layers,
       .value = "N",
       .help = "Layers; the preset's where not given",
       .low = 1},
      {.name = "--experts",
       .target = &options->synth.shape.experts,
       .value = "N",
       .help = "Experts a layer; the preset's where not given",
       .low = 1},
      {.name = "--width",
       .target = &options->synth.shape.width,
       .value = "N",
       .help = "Neurons of an expert, a multiple of 32; the preset's where not given",
       .low = 1},
      {.name = "--top-k",
       .target = &options->synth.shape.top_k,
       .value = "N",
       .help = "Experts that a token chooses; the preset's where not given",
       .low = 1},
      {.name = "--router-back",
       .target = &options->synth.router_back,
       .value = "N",
       .help = "Routers read what the layer N below reads (Pre-gated MoE): a file for Junto alone (default 0)",
       .low = 0,
       .high = 64},
      {.name = "--keep",
       .target = &options->keep,
       .value = "PATTERN=TYPE",
       .help = "Tensors whose names match get TYPE; may be given several times"},
      {.name = "--seed", .target = &options->synth.seed, .value = "S", .help = "Of the random weights (default 0)"},
      threads_argument(options->synth.threads),
      json_argument(options->json)};
  command.examples =
      "  junto synth --preset tiny --type q4_0 --out tiny.gguf\n"
      "  junto synth --preset qwen3-30b-a3b --type q4_0 --layers 4 --out slice.gguf\n";
  command.execute = [options] { return run_synth(*options); };
  return command;
}

}  // namespace junto
