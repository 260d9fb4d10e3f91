// junto pack and junto unpack: experts as the store wants them, and back.
#include <sys/statvfs.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/number_text.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "cli/write_progress.h"
#include "compress/pack.h"

namespace junto {
namespace {

struct PackOptions {
  std::string source, out;
  bool replace = false;
  bool json = false;
};

std::filesystem::path folder_of(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

// Says what disk is needed, and refuses where it is not there, before anything is written.
void require_disk(const PackOptions& options, std::uint64_t needed) {
  struct statvfs disk {};
  if (statvfs(folder_of(options.out).c_str(), &disk) != 0) fail(options.out, "its folder cannot be looked at");
  const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (!options.json) {
    print_note(options.out + ": needs " + bytes_text(needed) + " of disk, " + bytes_text(free) + " are free" +
               (options.replace ? "; " + options.source + " is removed after that" : ""));
  }
  if (free < needed) {
    fail(options.out, "needs " + bytes_text(needed) + " of disk, but only " + bytes_text(free) + " are free");
  }
}

void print_result(const PackOptions& options, const PackReport& report) {
  if (options.json) {
    const Json out = {{"out", options.out},
                      {"experts", report.experts},
                      {"source_bytes", report.source_bytes},
                      {"bytes", report.bytes},
                      {"replaced", options.replace}};
    std::printf("%s\n", out.dump().c_str());
  } else {
    std::printf("%s: %lld experts, %s (source %s)%s\n", options.out.c_str(), static_cast<long long>(report.experts),
                bytes_text(report.bytes).c_str(), bytes_text(report.source_bytes).c_str(),
                options.replace ? ", verified; source removed" : "");
  }
}

int run_pack(const PackOptions& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  PackReport report;
  {
    const Checkpoint source = open_model_file(options.source);
    std::error_code unknown;
    if (std::filesystem::equivalent(model_path(options.source), options.out, unknown)) {
      fail(options.out, "is the source; give another name, and --replace to remove the source");
    }
    require_disk(options, packed_file_bytes(source));
    if (options.replace && source.path.find("-00001-of-") != std::string::npos) {
      fail("--replace", "removes one file, but " + source.path + " is one of several");
    }
    WriteProgressLine line("pack " + options.out);
    report = pack(source, options.out, line.callback());
  }
  if (options.replace) replace_by_packed(model_path(options.source), options.out);
  print_result(options, report);
  return 0;
}

int run_unpack(const PackOptions& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  const Checkpoint source = open_model_file(options.source);
  std::uint64_t bytes = 0;
  for (const NamedTensor& named : source.tensors()) bytes += named.tensor.bytes.size();
  require_disk(options, bytes);
  WriteProgressLine line("unpack " + options.out);
  const PackReport report = unpack(source, options.out, line.callback());
  line.finish();
  print_result(options, report);
  return 0;
}

Command command_of(const std::shared_ptr<PackOptions>& options, const char* source, const char* out) {
  Command command;
  command.arguments = {{.name = "SRC", .target = &options->source, .value = "SRC", .help = source, .required = true},
                       {.name = "DST", .target = &options->out, .value = "DST", .help = out, .required = true},
                       json_argument(options->json)};
  return command;
}

}  // namespace

Command pack_command() {
  const auto options = std::make_shared<PackOptions>();
  Command command = command_of(options, "GGUF file of a mixture",
                               "The file to write, which only Junto reads: complete or not at all");
  command.name = "pack";
  command.about = "Write a GGUF file whose experts stream with one read each";
  command.arguments.push_back({.name = "--replace",
                               .target = &options->replace,
                               .value = "",
                               .help = "Remove SRC once DST was read back and found to restore it"});
  command.examples =
      "  junto pack large-moe.gguf large-moe.packed.gguf\n"
      "  junto unpack large-moe.packed.gguf large-moe.gguf\n"
      "Never required: any GGUF file streams. A packed one is as large, needs no interleaving on arrival, and starts\n"
      "mapped where it stays in memory. Unpacking restores the source's tensors bit for bit.\n";
  command.execute = [options] { return run_pack(*options); };
  return command;
}

Command unpack_command() {
  const auto options = std::make_shared<PackOptions>();
  Command command = command_of(options, "A packed file", "The GGUF file to write: complete or not at all");
  command.name = "unpack";
  command.about = "Restore what junto pack packed, bit for bit";
  command.examples = "  junto unpack large-moe.packed.gguf large-moe.gguf\n";
  command.execute = [options] { return run_unpack(*options); };
  return command;
}

}  // namespace junto
