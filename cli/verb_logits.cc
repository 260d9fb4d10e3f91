// junto logits: the logits of every position, and which experts computed it, as a safetensors file.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "analyze/route_recorder.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/prompt_chunk.h"
#include "cli/session.h"
#include "format/safetensors.h"
#include "generate/forward_rows.h"

namespace junto {
namespace {

struct LogitsOptions {
  ModelOptions model;
  std::string ids;
  std::string out;
  bool json = false;
};

/// Writes what it is given when its turn comes; the values live as long as the tensor.
template <class Value>
TensorToWrite tensor_of(std::string name, DType type, Shape shape, std::vector<Value> values) {
  auto kept = std::make_shared<const std::vector<Value>>(std::move(values));
  return {std::move(name), type, std::move(shape),
          [kept](const ByteSink& sink) { sink(std::as_bytes(std::span(*kept))); }};
}

/// "experts.<L>" [T, k] and "weights.<L>" [T, k]; k is that of the widest row, rows with fewer slots end in -1 and 0.
void add_routing(const RoutedBlock& routed, std::vector<TensorToWrite>& tensors) {
  const RoutePlan& plan = routed.plan;
  const std::int64_t rows = plan.units(), k = std::max(1, widest_row(plan));
  std::vector<std::int32_t> experts(static_cast<std::size_t>(rows * k), -1);
  std::vector<float> weights(static_cast<std::size_t>(rows * k), 0.0f);
  for (std::int64_t u = 0; u < rows; ++u) {
    std::ranges::copy(plan.experts_of(u), experts.begin() + u * k);
    std::ranges::copy(plan.weights_of(u), weights.begin() + u * k);
  }
  const std::string prefix = routed.mixer ? "attn_" : "", suffix = "." + std::to_string(routed.layer);
  tensors.push_back(tensor_of(prefix + "experts" + suffix, DType::kI32, {rows, k}, std::move(experts)));
  tensors.push_back(tensor_of(prefix + "weights" + suffix, DType::kF32, {rows, k}, std::move(weights)));
}

int run_logits(const LogitsOptions& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  Session session = open_session(options.model);
  const std::int64_t vocabulary = session.model->config.vocab_size;
  const std::vector<std::int32_t> ids = parse_ids(options.ids, "--ids", vocabulary);
  const auto rows = static_cast<std::int64_t>(ids.size());
  start_decoder(session, rows);

  RouteRecorder recorder(session.model->config);
  const Hooks hooks = recorder.hooks();
  Sequence sequence = new_sequence(session);
  std::vector<float> logits(static_cast<std::size_t>(rows * vocabulary));
  forward_rows(*session.decoder, sequence, ids, options.model.chunk.value_or(std::min(session.chunk, kPromptChunk)),
               &hooks, [&](std::int64_t first, MatrixView<const float> values) {
                 for (std::int64_t r = 0; r < values.rows; ++r) {
                   std::ranges::copy(values.row(r), logits.begin() + (first + r) * vocabulary);
                 }
               });

  std::vector<TensorToWrite> tensors;
  tensors.push_back(tensor_of("logits", DType::kF32, {rows, vocabulary}, std::move(logits)));
  for (const RoutedBlock* routed : recorder.blocks()) add_routing(*routed, tensors);
  Json names = Json::array();
  for (const TensorToWrite& tensor : tensors) names.push_back(tensor.name);
  write_safetensors(options.out, tensors);
  if (options.json) {
    const Json result = {{"out", options.out}, {"tokens", rows}, {"vocabulary", vocabulary}, {"tensors", names}};
    std::printf("%s\n", result.dump().c_str());
  }
  return 0;
}

}  // namespace

Command logits_command() {
  const auto options = std::make_shared<LogitsOptions>();
  Command command;
  command.name = "logits";
  command.about = "Write the logits and the routing of every position to a safetensors file";
  command.arguments = model_arguments(options->model);
  command.arguments.insert(
      command.arguments.begin() + 1,
      {{.name = "--ids", .target = &options->ids, .value = "1,2,3", .help = "Token ids", .required = true},
       {.name = "--out", .target = &options->out, .value = "FILE", .help = "The safetensors file", .required = true}});
  command.arguments.push_back(json_argument(options->json));
  command.examples =
      "  junto logits model.gguf --ids 1,15,27 --out out.safetensors\n"
      "  junto logits testdata/oracles/checkpoints/olmoe --ids 3,4,5 --out o.safetensors --kv f32 --chunk 1\n"
      "Tensors: logits [T, V]; for each layer L with routed experts experts.<L> and weights.<L> [T, k],\n"
      "best first, -1 where a token has fewer; attn_experts.<L>, attn_weights.<L> for attention experts.\n";
  command.execute = [options] { return run_logits(*options); };
  return command;
}

}  // namespace junto
