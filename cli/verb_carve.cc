// junto carve: a dense model becomes a mixture.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "cli/carve_report.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/session.h"
#include "cli/write_progress.h"
#include "compress/carve.h"
#include "compress/text_overlap.h"
#include "moe/router_spec.h"

namespace junto {
namespace {

struct CarveVerb {
  CarveOptions carve;
  std::string source, calibrate, down_type = "q8_0";
  std::int64_t tokens = 32768;
  std::vector<std::string> tests;
  std::int64_t test_tokens = 0;  // of each document; 0: all
  bool report = false;
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

// The texts that --test names, or the default ones where they have been fetched.
std::vector<std::string> test_paths(const CarveVerb& options) {
  if (!options.tests.empty()) return options.tests;
  std::vector<std::string> paths;
  for (const char* name : {"press", "learned", "fiction"}) {
    const std::string path = cache_directory() + "/texts/" + name + ".txt";
    if (std::filesystem::is_regular_file(path)) paths.push_back(path);
  }
  if (paths.empty() && options.report) {
    fail("carve", "no held-out text: give some with --test, or let scripts/fetch-texts fetch the default ones");
  }
  return paths;
}

struct Texts {
  std::string calibration_path;
  CleanText calibration;
  std::vector<HeldOutText> tests;
  std::size_t test_runs = 0;  // of eight words
};

Texts read_texts(const CarveVerb& options, const Tokenizer& tokenizer) {
  Texts texts;
  texts.calibration_path = calibration_path(options);
  EightGrams runs;
  for (const std::string& path : test_paths(options)) {
    const std::string text = read_text_argument(path);
    runs.add(text);
    HeldOutText held_out{std::filesystem::path(path).stem().string(), {}};
    for (const std::string& document : split_documents(text)) {
      held_out.documents.push_back(tokenizer.encode_plain(document));
      const auto limit = static_cast<std::size_t>(options.test_tokens);
      if (limit > 0 && held_out.documents.back().size() > limit) held_out.documents.back().resize(limit);
    }
    if (held_out.documents.empty() || held_out.documents.front().size() < 4) fail(path, "holds no text to test on");
    texts.tests.push_back(std::move(held_out));
  }
  texts.test_runs = runs.size();
  texts.calibration = without_overlap(read_text_argument(texts.calibration_path), runs);
  return texts;
}

std::string describe_overlap(const Texts& texts) {
  if (texts.tests.empty()) return "no test text to hold the calibration text against (--test)";
  return "calibration text against " + std::to_string(texts.tests.size()) + " test texts (" +
         std::to_string(texts.test_runs) + " runs of eight words): " + std::to_string(texts.calibration.dropped) +
         " of " + std::to_string(texts.calibration.paragraphs) + " paragraphs dropped, " +
         std::to_string(texts.calibration.shared) + " runs shared by what remains";
}

double mean_of(const std::vector<double>& values) {
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
  const Checkpoint checkpoint = open_model_file(options.source);
  const std::optional<Tokenizer> tokenizer = load_tokenizer(checkpoint);
  if (!tokenizer) fail(checkpoint.path, "no tokenizer: carving needs one for its calibration text");
  const Texts texts = read_texts(options, *tokenizer);
  carving.calibration = tokenizer->encode_plain(texts.calibration.text);
  if (std::ssize(carving.calibration) > options.tokens)
    carving.calibration.resize(static_cast<std::size_t>(options.tokens));
  carving.window = std::min<std::int64_t>(carving.window, describe_model(checkpoint).config.context_length);
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
  CarveComparison comparison{carving.source,         carving.out, carving.shape,
                             {1.0, 0.75, 0.5, 0.25}, texts.tests, carving.threads};
  if (options.json) {
    Json out = {{"out", carving.out},
                {"architecture", report.file.architecture},
                {"bytes", report.file.bytes},
                {"source_bytes", report.file.source_bytes},
                {"experts", carving.shape.experts},
                {"shared", carving.shape.shared},
                {"neurons", report.neurons},
                {"blocks", report.blocks},
                {"calibration", texts.calibration_path},
                {"calibration_paragraphs", texts.calibration.paragraphs},
                {"dropped_paragraphs", texts.calibration.dropped},
                {"shared_runs", texts.calibration.shared},
                {"calibration_tokens", report.calibration_tokens},
                {"captured", report.captured},
                {"captured_ideal", report.captured_ideal},
                {"router", to_json(report.router)},
                {"seconds", report.file.seconds},
                {"notes", report.file.notes}};
    if (options.report) out["report"] = to_json(compare_carved(comparison), comparison);
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
      static_cast<long long>(report.calibration_tokens), texts.calibration_path.c_str(), 100 * mean_of(report.captured),
      100 * mean_of(report.captured_ideal));
  std::printf("nothing was trained: --policy top_k=N chooses N of %d routed groups, all of them unless you say so\n",
              carving.shape.routed());
  std::printf("%s\n", describe_overlap(texts).c_str());
  if (options.report) {
    std::fflush(stdout);
    std::printf("\n%s", describe(compare_carved(comparison), comparison).c_str());
  }
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
      {.name = "--test",
       .target = &options->tests,
       .value = "FILE",
       .help =
           "Held-out text: kept out of the calibration, measured by --report; documents parted by form feeds; may be "
           "given several times (default: what scripts/fetch-texts fetched)"},
      {.name = "--test-tokens",
       .target = &options->test_tokens,
       .value = "N",
       .help = "Of each test document (default: all)",
       .low = 1},
      {.name = "--report",
       .target = &options->report,
       .value = "",
       .help = "Measure loss and speed at each share, beside the source quantised to the same bytes"},
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
