// junto carve: a dense model becomes a mixture.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/session.h"
#include "cli/write_progress.h"
#include "compress/carve.h"
#include "moe/router_spec.h"

namespace junto {
namespace {

struct CarveVerb {
  CarveOptions carve;
  std::string source, calibrate, down_type = "q8_0";
  std::int64_t tokens = 32768;
  bool json = false;
};

std::string calibration_path(const CarveVerb& options) {
  if (!options.calibrate.empty()) return options.calibrate;
  const std::string path = cache_directory() + "/texts/calibration.txt";
  if (!std::filesystem::is_regular_file(path)) {
    fail("carve",
         "no calibration text: give one with --calibrate, or let scripts/fetch-texts fetch the default " + path);
  }
  return path;
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0.0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// A progress line that is told where it stands.
class StepLine {
 public:
  StepLine(std::string label, std::string unit) : label_(std::move(label)), unit_(std::move(unit)) {}
  void at(std::int64_t done, std::int64_t total) {
    if (!progress_) progress_.emplace(label_, static_cast<std::uint64_t>(total), unit_);
    progress_->advance(static_cast<std::uint64_t>(done - done_));
    done_ = done;
  }
  void finish() { progress_.reset(); }

 private:
  std::string label_, unit_;
  std::int64_t done_ = 0;
  std::optional<Progress> progress_;
};

int run_carve(CarveVerb& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  CarveOptions& carving = options.carve;
  carving.source = model_path(options.source);
  carving.down_type = parse_weight_type(options.down_type, "--down-type");
  const std::string text_path = calibration_path(options);
  const Checkpoint checkpoint = open_model_file(options.source);
  const std::optional<Tokenizer> tokenizer = load_tokenizer(checkpoint);
  if (!tokenizer) fail(checkpoint.path, "no tokenizer: carving needs one for its calibration text");
  const std::string text = read_text_argument(text_path);
  carving.calibration = tokenizer->encode_plain(text);
  if (std::ssize(carving.calibration) > options.tokens)
    carving.calibration.resize(static_cast<std::size_t>(options.tokens));
  if (tokenizer->add_bos()) carving.bos = tokenizer->bos_id();
  StepLine calibrate("calibrate", "tokens"), fit("fit", "blocks");
  carving.calibrating = [&](std::int64_t done, std::int64_t total) { calibrate.at(done, total); };
  carving.fitting = [&](std::int64_t done, std::int64_t total) { fit.at(done, total); };
  WriteProgressLine line("write " + carving.out);
  carving.progress = line.callback();
  const CarveReport report = carve(carving);
  line.finish();
  calibrate.finish();
  fit.finish();
  if (options.json) {
    const Json out = {{"out", carving.out},
                      {"architecture", report.file.architecture},
                      {"bytes", report.file.bytes},
                      {"source_bytes", report.file.source_bytes},
                      {"experts", carving.shape.experts},
                      {"shared", carving.shape.shared},
                      {"neurons", report.neurons},
                      {"blocks", report.blocks},
                      {"calibration", text_path},
                      {"calibration_tokens", report.calibration_tokens},
                      {"captured", report.captured},
                      {"captured_ideal", report.captured_ideal},
                      {"router", to_json(report.router)},
                      {"seconds", report.file.seconds},
                      {"notes", report.file.notes}};
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  for (const std::string& note : report.file.notes) std::fprintf(stderr, "junto: %s\n", note.c_str());
  std::printf("%s: %d blocks of %d groups of %lld neurons, %d shared, %d routed; %s (source %s)\n", carving.out.c_str(),
              report.blocks, carving.shape.experts, static_cast<long long>(report.neurons), carving.shape.shared,
              carving.shape.routed(), format_quantity(static_cast<double>(report.file.bytes), "B").c_str(),
              format_quantity(static_cast<double>(report.file.source_bytes), "B").c_str());
  std::printf(
      "calibrated on %lld tokens of %s: %.1f %% of the contributions' energy computed, %.1f %% if every token\n"
      "had its best groups\n",
      static_cast<long long>(report.calibration_tokens), text_path.c_str(), 100 * mean(report.captured),
      100 * mean(report.captured_ideal));
  std::printf("nothing was trained: --policy top_k=N chooses N of %d routed groups, all of them unless you say so\n",
              carving.shape.routed());
  return 0;
}

}  // namespace

Command carve_command() {
  const auto options = std::make_shared<CarveVerb>();
  Command command;
  command.name = "carve";
  command.about = "Make a mixture of experts of a dense model, without training";
  command.arguments = {
      {.name = "SRC",
       .target = &options->source,
       .value = "SRC",
       .help = "A dense model: GGUF file or Hugging Face directory",
       .required = true},
      {.name = "DST",
       .target = &options->carve.out,
       .value = "DST",
       .help = "The GGUF file to write: complete or not at all",
       .required = true},
      {.name = "--experts",
       .target = &options->carve.shape.experts,
       .value = "E",
       .help = "Equal groups of neurons in every block (default 48)",
       .low = 2},
      {.name = "--shared",
       .target = &options->carve.shape.shared,
       .value = "S",
       .help = "Of them always on (default 16)",
       .low = 0},
      {.name = "--calibrate",
       .target = &options->calibrate,
       .value = "FILE",
       .help = "A text like those that the model will see; the default is what scripts/fetch-texts fetched"},
      {.name = "--tokens", .target = &options->tokens, .value = "N", .help = "Of that text (default 32768)", .low = 1},
      {.name = "--down-type",
       .target = &options->down_type,
       .value = "TYPE",
       .help = "Of the experts' down matrices, which are cut anew: q8_0 (default), f16, f32..."},
      threads_argument(options->carve.threads),
      json_argument(options->json)};
  command.examples =
      "  junto carve smollm2 smollm2-moe.gguf --experts 48 --shared 16\n"
      "  junto run smollm2-moe.gguf --policy top_k=8 -p 'Hello'\n"
      "The active share of neurons is (shared + chosen) / experts. With all chosen it computes what it did before.\n";
  command.execute = [options] { return run_carve(*options); };
  return command;
}

}  // namespace junto
