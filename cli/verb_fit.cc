// junto fit: what a model needs and how fast it would be, before it is loaded.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "base/progress.h"
#include "cli/commands.h"
#include "cli/forecast.h"
#include "cli/machine.h"
#include "cli/prompt_chunk.h"
#include "cli/session.h"

namespace junto {
namespace {

struct FitArguments {
  std::string path;
  std::optional<std::string> memory;
  ExpertMemoryOptions experts;
  std::optional<int> context;
  std::string kv = "f16";
  int threads = 0;
  bool json = false;
};

void print_forecast(const std::string& path, const Forecast& forecast) {
  const Needs& needs = forecast.needs;
  const auto bytes = [](std::int64_t count) { return format_quantity(static_cast<double>(count), "B"); };
  std::printf("%s\n", path.c_str());
  std::printf("  every token reads  %10s of weights, of which %s are routed experts\n",
              bytes(needs.read_per_token).c_str(), bytes(needs.experts_per_token).c_str());
  std::printf("  dense part         %10s\n", bytes(needs.dense).c_str());
  if (needs.expert_count > 0) {
    std::printf("  experts            %10s, %lld of %lld in memory%s\n", bytes(needs.experts).c_str(),
                static_cast<long long>(needs.cached), static_cast<long long>(needs.expert_count),
                needs.streamed ? ", the others streamed" : "");
  }
  std::printf("  KV cache           %10s for %lld tokens\n", bytes(needs.kv).c_str(),
              static_cast<long long>(needs.context));
  std::printf("  activations        %10s of %d prompt tokens at a time\n", bytes(needs.working).c_str(), kPromptChunk);
  std::printf("  memory             %10s\n", bytes(needs.memory).c_str());
  std::printf("  expected           %10.1f tok/s%s, limited by %s\n", forecast.tokens_per_s,
              needs.streamed ? " at uniform routing (more where experts are used again)" : "",
              forecast.limit == Limit::kDisk ? "the disk" : "memory bandwidth");
  std::printf("  measured here      %10s/s of memory",
              bytes(static_cast<std::int64_t>(forecast.read_bytes_per_s)).c_str());
  if (needs.streamed) {
    std::printf(", %s/s of disk", bytes(static_cast<std::int64_t>(forecast.disk_bytes_per_s)).c_str());
  }
  std::printf("\n");
}

int run_fit(const FitArguments& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  const Checkpoint checkpoint = open_model_file(options.path);
  const std::int64_t memory = options.memory ? parse_bytes(*options.memory, "--memory") : available_memory_bytes();
  ThreadPool pool(options.threads);
  const Forecast result = forecast_model(checkpoint,
                                         {.experts = options.experts,
                                          .memory = memory,
                                          .context = options.context.value_or(0),
                                          .kv = options.kv,
                                          .working = prompt_bytes(checkpoint, ActivationType::kQ8, 0, pool.threads())},
                                         pool);
  if (options.json) {
    std::printf("%s\n", to_json(result).dump().c_str());
  } else {
    print_forecast(checkpoint.path, result);
  }
  return 0;
}

}  // namespace

Command fit_command() {
  const auto options = std::make_shared<FitArguments>();
  Command command;
  command.name = "fit";
  command.about = "Forecast what a model needs and how fast it will be, from its header";
  command.arguments = {model_argument(options->path),
                       {.name = "--memory",
                        .target = &options->memory,
                        .value = "SIZE",
                        .help = "As if so much were available (1.3GiB); the default is what is"},
                       {.name = "--expert-memory",
                        .target = &options->experts.budget,
                        .value = "SIZE|auto",
                        .help = "Memory for experts, as run takes it"},
                       context_argument(options->context),
                       {.name = "--kv",
                        .target = &options->kv,
                        .help = "Type of the KV cache (default f16)",
                        .choices = {"f32", "f16", "q8_0"}},
                       threads_argument(options->threads),
                       json_argument(options->json)};
  command.examples =
      "  junto fit large-moe.gguf\n"
      "  junto fit large-moe.gguf --memory 8GiB --context 4096 --json\n"
      "Memory bandwidth and disk are measured for a moment; of the model only the header is read, and a few experts "
      "for\n"
      "the disk's speed where experts will be streamed.\n";
  command.execute = [options] { return run_fit(*options); };
  return command;
}

}  // namespace junto
