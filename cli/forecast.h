// What a model will need and how fast it will be here, told from its header and two rates of the machine: what
// `junto fit` prints, and the line before a streamed model is loaded.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "base/thread_pool.h"
#include "cli/expert_memory.h"
#include "format/checkpoint.h"

namespace junto {

/// Bytes, unless named otherwise.
struct Needs {
  std::int64_t dense = 0;              // all but routed experts
  std::int64_t experts = 0;            // as stored
  std::int64_t expert_count = 0;       // of all layers
  std::int64_t slot = 0;               // one expert in memory
  std::int64_t read_per_token = 0;     // weights, each expert alike likely
  std::int64_t experts_per_token = 0;  // of those, routed experts
  std::int64_t context = 0;            // tokens
  std::int64_t kv = 0;                 // of a full context
  std::int64_t working = 0;            // activations of a prompt's calls
  std::int64_t memory = 0;             // that there is
  std::int64_t cached = 0;             // experts (a number) that memory holds; all where nothing is streamed
  bool streamed = false;
};

enum class Limit { kMemoryBandwidth, kDisk };

struct Forecast {
  Needs needs;
  double read_bytes_per_s = 0;  // memory
  double disk_bytes_per_s = 0;  // direct reads of experts; 0 where nothing is streamed
  double tokens_per_s = 0;      // decoding, at uniform routing: what is routed unevenly is faster
  Limit limit = Limit::kMemoryBandwidth;
};

/// Of rates and sizes alone: what is not streamed reads memory, and while a layer's missing experts come from the disk
/// the others compute.
Forecast forecast(const Needs& needs, double read_bytes_per_s, double disk_bytes_per_s);

/// What a forecast is asked for.
struct ForecastOptions {
  ExpertMemoryOptions experts;
  std::int64_t memory = 0;   // that there is
  std::int64_t context = 0;  // 0: the model's own
  std::string kv = "f16";
  std::int64_t working = 0;  // activations of a prompt's calls: prompt_bytes()
};

/// Reads the header, and measures memory and disk for a moment. Throws Error with both byte counts where not even what
/// every token reads fits into memory. The threads of `pool` read and compute.
Forecast forecast_model(const Checkpoint& checkpoint, const ForecastOptions& options, ThreadPool& pool);

/// "about 3.1 tok/s at uniform routing, limited by 2.3 GB/s of disk".
std::string describe_forecast(const Forecast& forecast);
Json to_json(const Forecast& forecast);

}  // namespace junto
