// --expert-memory and --evict: whether experts are in memory or streamed, and through how much.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "cli/command.h"
#include "format/checkpoint.h"
#include "model/weights.h"

namespace junto {

struct ExpertMemoryOptions {
  std::string budget = "auto";
  std::string evict = "layer";
  std::string hot_set;  // a trace
  std::string prefetch = "next-router";
  std::string prefetch_trace;
  std::string path_predictor;  // a file of junto train
  std::string disk_limit;      // a rate; empty: none
  bool verify_reads = false;
};

/// --expert-memory, --evict, --hot-set, --prefetch, --prefetch-trace, --path-predictor, --disk-limit and
/// --verify-reads.
std::vector<Argument> expert_memory_arguments(ExpertMemoryOptions& options);

/// "1.2GiB", "800MB", "4096" (bytes). Throws Error naming `name` and the forms there are.
std::int64_t parse_bytes(std::string_view text, std::string_view name);

/// Bytes per second in "0.6GB/s". Throws Error naming `name`.
double parse_rate(std::string_view text, std::string_view name);

/// JUNTO_IO, "uring" or "threads"; null or empty: the former where the system lets us. Throws Error naming what there
/// is.
ReadEngine parse_read_engine(const char* text);

/// What of a checkpoint is routed experts, and what is read for every token.
struct StoredBytes {
  std::int64_t all = 0;
  std::int64_t experts = 0;
};
StoredBytes stored_bytes_of(const Checkpoint& checkpoint);

/// How experts are held: streamed through that many bytes, or 0: in memory or mapped. `auto` streams where `available`
/// bytes hold neither the model twice (mapped and interleaved) nor, interleaved, once; it leaves `working` bytes for
/// what a call computes with (working_bytes()), and some for the program and a short context. Throws Error with both
/// byte counts where not even the rest of the model fits.
std::int64_t choose_expert_memory(const ExpertMemoryOptions& options, const StoredBytes& stored, std::int64_t working,
                                  std::int64_t available, std::string_view where);

/// "streams 3.62 GB of experts through 1.2 GB: 378 of 1024 in memory, evicting lfu".
std::string describe_streaming(std::int64_t experts_bytes, std::int64_t slots, std::int64_t slot_bytes,
                               std::int64_t experts, std::string_view evict);

/// {"slots", "experts", "evict", "engine", "prompt_chunk" (rows that a call of a prompt has), "hits", "misses",
/// "hit_ratio", "bytes_read", "bytes_read_per_s", "stall_s", "preferred_slots", "skipped_slots", "verified",
/// "prefetch"}, where asks are recorded "belady_hit_ratio", and where something is prefetched {"prefetch_hits",
/// "late_prefetches", "wasted_prefetches", "dropped_prefetches", "guessed", "recall", "precision"}.
Json streaming_json(const ExpertCache& cache, int prompt_chunk);

/// "61 % of experts were in memory, 2.1 GB read at 1.1 GB/s, 3.2 s stalled", then what policies
/// of streamed experts changed and what prefetching did.
std::string streaming_line(const ExpertCache& cache);

}  // namespace junto
