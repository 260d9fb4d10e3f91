// junto tokenizer train: a byte-level BPE out of text files.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "format/tokenizer/train_bpe.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxTextBytes = std::size_t{4} << 30;

struct TokenizerVerb {
  std::string action, out;
  std::vector<std::string> files, special;
  text::BpeTraining training;
  bool json = false;
};

/// How many tokens a text becomes says more than the size of a vocabulary: read back, over all the texts.
int train(TokenizerVerb& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  if (!options.special.empty()) options.training.special = options.special;
  if (options.files.empty()) fail("", "junto tokenizer train needs --files FILE; see junto tokenizer --help");
  text::PieceCounts pieces;
  std::uint64_t bytes = 0;
  for (const std::string& file : options.files) {
    std::error_code error;
    const std::uint64_t size = fs::file_size(file, error);
    if (!error) bytes += size;
  }
  {
    Progress progress("read", bytes, "B");
    for (const std::string& file : options.files) {
      pieces.add(read_text_file(file, kMaxTextBytes), [&](std::size_t part) { progress.advance(part); });
    }
  }
  std::optional<Progress> progress(std::in_place, "merge",
                                   static_cast<std::uint64_t>(std::max<std::int64_t>(
                                       0, options.training.vocabulary - 256 - std::ssize(options.training.special))),
                                   "merges");
  const text::TrainedBpe bpe = text::train_bpe(pieces, options.training, [&] { progress->advance(); });
  progress.reset();
  AtomicFile file(options.out);
  file.write(text::tokenizer_json(bpe));
  file.commit();

  const std::int64_t tokens = std::ssize(bpe.special) + std::ssize(bpe.tokens);
  if (options.json) {
    const Json out = {{"out", options.out},
                      {"vocabulary", tokens},
                      {"bytes", bytes},
                      {"pieces", pieces.all().size()},
                      {"merges", bpe.merges.size()}};
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  std::printf("%s: %lld tokens from %s of text, %s\n", options.out.c_str(), static_cast<long long>(tokens),
              format_quantity(static_cast<double>(bytes), "B").c_str(),
              format_quantity(static_cast<double>(pieces.all().size()), "different pieces").c_str());
  if (tokens < options.training.vocabulary) {
    std::fprintf(stderr, "junto: no pair of tokens occurs %lld times any more: the vocabulary is smaller than asked\n",
                 static_cast<long long>(options.training.min_count));
  }
  return 0;
}

}  // namespace

Command tokenizer_command() {
  const auto options = std::make_shared<TokenizerVerb>();
  Command command;
  command.name = "tokenizer";
  command.about = "Train a tokenizer on text files";
  command.arguments = {
      {.name = "ACTION", .target = &options->action, .help = "What to do", .choices = {"train"}, .required = true},
      {.name = "--files",
       .target = &options->files,
       .value = "FILE",
       .help = "Text to learn from, each file one text; may be given again"},
      {.name = "--vocabulary",
       .target = &options->training.vocabulary,
       .value = "N",
       .help = "Tokens in all: special ones, 256 bytes, merges (default 8192)",
       .low = 256,
       .high = 1 << 24},
      {.name = "--min-count",
       .target = &options->training.min_count,
       .value = "N",
       .help = "Pairs that occur less often are not merged (default 2)",
       .low = 1},
      {.name = "--special",
       .target = &options->special,
       .value = "TOKEN",
       .help = "A special token (default <|endoftext|>); the first begins and ends texts; may be given again"},
      {.name = "--out",
       .target = &options->out,
       .value = "FILE",
       .help = "The tokenizer.json to write",
       .required = true},
      json_argument(options->json)};
  command.examples =
      "  junto tokenizer train --files a.txt --files b.txt --vocabulary 4096 --out tokenizer.json\n"
      "  echo -n 'Hello' | junto tokenize tokenizer.json\n";
  command.execute = [options] { return train(*options); };
  return command;
}

}  // namespace junto
