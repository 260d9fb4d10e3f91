#include "cli/forecast.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "cli/machine.h"
#include "cli/model_report.h"
#include "cli/number_text.h"
#include "model/kv_cache.h"
#include "model/weights.h"

namespace junto {
namespace {

// What decoding made of the two rates where it was measured (docs/streaming.md): products, norms and attention of one
// row against a plain read of memory, streaming against reads that nobody works on.
constexpr double kShareOfMemory = 0.7;
constexpr double kShareOfDisk = 0.78;  // 0.74, 0.79 and 0.82, since reads go straight to slots
constexpr double kDiskProbe_s = 0.3;

}  // namespace

Forecast forecast(const Needs& needs, double read_bytes_per_s, double disk_bytes_per_s) {
  Forecast out{needs, read_bytes_per_s, disk_bytes_per_s};
  const double memory = std::max(1.0, kShareOfMemory * read_bytes_per_s);
  const double always_s = static_cast<double>(needs.read_per_token - needs.experts_per_token) / memory;
  const double experts_s = static_cast<double>(needs.experts_per_token) / memory;
  double disk_s = 0;
  if (needs.streamed && needs.expert_count > 0 && disk_bytes_per_s > 0) {
    const double missing = 1 - static_cast<double>(needs.cached) / static_cast<double>(needs.expert_count);
    disk_s = static_cast<double>(needs.experts_per_token) * missing / (kShareOfDisk * disk_bytes_per_s);
  }
  const double seconds = always_s + std::max(experts_s, disk_s);
  out.tokens_per_s = seconds > 0 ? 1 / seconds : 0;
  out.limit = disk_s > always_s + experts_s ? Limit::kDisk : Limit::kMemoryBandwidth;
  return out;
}

Forecast forecast_model(const Checkpoint& checkpoint, const ForecastOptions& options, ThreadPool& pool) {
  const std::int64_t memory = options.memory;
  const StoredBytes stored = stored_bytes_of(checkpoint);
  if (stored.all > memory && stored.experts == 0) {
    fail(checkpoint.path, "has no experts to stream: every token reads " + bytes_text(stored.all) + ", but only " +
                              bytes_text(memory) + " of memory are available");
  }
  LoadOptions load;  // slots that nothing is put into cost no memory, weights are mapped
  if (!options.experts.disk_limit.empty())
    load.disk_limit_bytes_per_s = parse_rate(options.experts.disk_limit, "--disk-limit");
  load.expert_memory = choose_expert_memory(options.experts, stored, options.working, memory, checkpoint.path);
  const std::shared_ptr<Model> model = load_model(checkpoint, load);
  const ModelReport report = report_model(checkpoint, *model);
  Needs needs;
  needs.dense = stored.all - stored.experts;
  needs.experts = stored.experts;
  needs.read_per_token = report.bytes_per_token;
  needs.experts_per_token = report.bytes_per_token - report.always_read_bytes;
  needs.working = options.working;
  needs.context = options.context > 0 ? options.context : model->config.context_length;
  needs.kv = needs.context *
             static_cast<std::int64_t>(make_kv_layout(model->config, parse_kv_type(options.kv)).bytes_per_position());
  needs.memory = memory;
  for (const ExpertLayer& layer : model->experts->snapshot()->layers) {
    for (const ExpertWeights* expert : layer.experts) needs.expert_count += has_weights(expert->kind) ? 1 : 0;
  }
  needs.cached = needs.expert_count;
  double disk = 0;
  if (is_streaming(*model)) {
    needs.slot = static_cast<std::int64_t>(model->cache->slot_bytes());
    needs.cached = model->cache->slots();
    needs.streamed = needs.cached < needs.expert_count;
    if (needs.streamed) disk = model->cache->measure_disk(kDiskProbe_s);
  }
  return forecast(needs, read_bandwidth(pool), disk);
}

std::string describe_forecast(const Forecast& forecast) {
  const bool disk = forecast.limit == Limit::kDisk;
  const double rate = disk ? forecast.disk_bytes_per_s : forecast.read_bytes_per_s;
  char text[160];
  std::snprintf(text, sizeof text, "about %.1f tok/s%s, limited by %s/s of %s", forecast.tokens_per_s,
                forecast.needs.streamed ? " at uniform routing" : "",
                bytes_text(static_cast<std::int64_t>(rate)).c_str(), disk ? "disk" : "memory bandwidth");
  return text;
}

Json to_json(const Forecast& forecast) {
  const Needs& needs = forecast.needs;
  return {{"dense_bytes", needs.dense},
          {"experts_bytes", needs.experts},
          {"experts", needs.expert_count},
          {"experts_cached", needs.cached},
          {"slot_bytes", needs.slot},
          {"streamed", needs.streamed},
          {"read_bytes_per_token", needs.read_per_token},
          {"context", needs.context},
          {"kv_bytes", needs.kv},
          {"working_bytes", needs.working},
          {"memory_bytes", needs.memory},
          {"read_bytes_per_s", forecast.read_bytes_per_s},
          {"disk_bytes_per_s", forecast.disk_bytes_per_s},
          {"tokens_per_s", forecast.tokens_per_s},
          {"limited_by", forecast.limit == Limit::kDisk ? "disk" : "memory bandwidth"}};
}

}  // namespace junto
