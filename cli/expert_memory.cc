#include "cli/expert_memory.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "analyze/belady.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/number_text.h"
#include "model/architectures.h"

namespace junto {
namespace {

constexpr std::int64_t kReserve_bytes = std::int64_t{128} << 20;  // program, buffers of reads, a short context

// blk.3.ffn_up_exps.weight, blk.3.ffn_up.5.weight and blk.3.experts.packed.
bool is_routed_expert(std::string_view name) {
  if (name.ends_with(".experts.packed")) return true;
  for (const std::string_view part : {"ffn_gate", "ffn_up", "ffn_down_t", "ffn_down"}) {
    const std::size_t at = name.find(part);
    if (at == std::string_view::npos) continue;
    const std::string_view rest = name.substr(at + part.size());
    return rest.starts_with("_exps.") || (rest.size() > 1 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9');
  }
  return false;
}

double quotient(double part, double of) {
  return of > 0 ? part / of : 0;
}

std::vector<std::string> prefetch_names() {
  std::vector<std::string> names;
  for (const NamedPrefetch& rule : all_prefetch_rules()) names.emplace_back(rule.name);
  return names;
}

/// Of the same asks, where they were recorded.
std::optional<double> belady_of(const ExpertCache& cache) {
  const std::vector<ExpertAsk> asks = cache.asks();
  if (asks.empty()) return std::nullopt;
  return belady_hit_ratio(asks, cache.asks_before_counters(), cache.experts_of_layers(), cache.slots());
}

}  // namespace

std::vector<Argument> expert_memory_arguments(ExpertMemoryOptions& options) {
  return {
      {.name = "--expert-memory",
       .target = &options.budget,
       .value = "SIZE|auto",
       .help = "Memory for experts, which are read from the file as they are needed: 1.2GiB; auto (default): all of "
               "them stay in memory where it holds them"},
      {.name = "--evict",
       .target = &options.evict,
       .help = "Which expert makes room for another: layer (default), lfu, lru, lifo, predicted, or static",
       .choices = {"lru", "lfu", "lifo", "layer", "predicted", "static"}},
      {.name = "--hot-set",
       .target = &options.hot_set,
       .value = "FILE",
       .help = "With --evict static: the trace (junto trace) whose most used experts stay in memory"},
      {.name = "--prefetch",
       .target = &options.prefetch,
       .help =
           "What is guessed of the next layer's experts, or those of the layer after it (:2), and read early: none, "
           "next-router (default), next-router:2, table, table:2, path, path:2, previous-token, previous-layer, "
           "frequency, oracle, oracle:2",
       .choices = prefetch_names()},
      {.name = "--prefetch-trace",
       .target = &options.prefetch_trace,
       .value = "FILE",
       .help = "With --prefetch table: a trace (junto trace) that the table learns from beforehand; with oracle: the "
               "trace of this very run"},
      {.name = "--path-predictor",
       .target = &options.path_predictor,
       .value = "FILE",
       .help = "With --prefetch path: what predicts all experts of a token before its first layer runs; junto train "
               "makes it of traces"},
      {.name = "--disk-limit",
       .target = &options.disk_limit,
       .value = "RATE",
       .help = "Experts are read no faster than this, to measure what a slower disk would do: 200MB/s"},
      {.name = "--verify-reads",
       .target = &options.verify_reads,
       .help = "Hold each streamed expert to its checksum whenever it is read; packed files have them"},
  };
}

std::int64_t parse_bytes(std::string_view text, std::string_view name) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1},        {"B", 1},          {"K", 1024},         {"KiB", 1024},  {"KB", 1e3},
      {"M", 1 << 20}, {"MiB", 1 << 20},  {"MB", 1e6},         {"G", 1 << 30}, {"GiB", 1 << 30},
      {"GB", 1e9},    {"T", 1ull << 40}, {"TiB", 1ull << 40}, {"TB", 1e12},
  };
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const auto& [known, factor] : kUnits) {
    if (error != std::errc() || unit != known || !(number >= 0) || number * factor > 9e18) continue;
    return static_cast<std::int64_t>(number * factor);
  }
  fail(name, "is " + printable(text) + ", expected a size such as 1.2GiB or 800MB, or auto");
}

double parse_rate(std::string_view text, std::string_view name) {
  if (!text.ends_with("/s")) fail(name, "is " + printable(text) + ", expected a rate such as 0.6GB/s");
  const std::int64_t bytes = parse_bytes(text.substr(0, text.size() - 2), name);
  if (bytes == 0) fail(name, "is " + printable(text) + ", expected more than nothing");
  return static_cast<double>(bytes);
}

ReadEngine parse_read_engine(const char* text) {
  const std::string_view name = text ? text : "";
  if (name.empty() || name == "uring") return ReadEngine::kAuto;
  if (name == "threads") return ReadEngine::kThreads;
  fail("JUNTO_IO", "is " + printable(name) + ", expected uring or threads");
}

StoredBytes stored_bytes_of(const Checkpoint& checkpoint) {
  StoredBytes out;
  for (const NamedTensor& named : checkpoint.tensors()) out.all += std::ssize(named.tensor.bytes);
  for (const auto& [name, tensor] : describe_model(checkpoint).tensors) {
    if (is_routed_expert(name)) out.experts += std::ssize(tensor.bytes);
  }
  return out;
}

std::int64_t choose_expert_memory(const ExpertMemoryOptions& options, const StoredBytes& stored, std::int64_t working,
                                  std::int64_t available, std::string_view where) {
  if (options.budget != "auto") {
    if (stored.experts == 0) fail("--expert-memory", "is given, but " + std::string(where) + " has no routed experts");
    return parse_bytes(options.budget, "--expert-memory");
  }
  if (stored.experts == 0 || stored.all < available / 2) return 0;
  const std::int64_t dense = stored.all - stored.experts, reserve = kReserve_bytes + working;
  if (stored.all + reserve < available / 10 * 9) return stored.experts / 16 * 17;  // each in a slot of its own
  const std::int64_t left = available - dense - reserve;
  if (left <= 0) {
    fail(where, "what every token reads takes " + bytes_text(dense) + " and " + bytes_text(reserve) +
                    " to work in, but only " + bytes_text(available) + " of memory are available");
  }
  return left / 10 * 9;
}

std::string describe_streaming(std::int64_t experts_bytes, std::int64_t slots, std::int64_t slot_bytes,
                               std::int64_t experts, std::string_view evict) {
  return "streams " + bytes_text(experts_bytes) + " of experts through " + bytes_text(slots * slot_bytes) + ": " +
         std::to_string(slots) + " of " + std::to_string(experts) + " in memory, evicting " + std::string(evict);
}

Json streaming_json(const ExpertCache& cache, int prompt_chunk) {
  const ExpertCacheCounters c = cache.counters();
  Json out = {{"slots", cache.slots()},
              {"experts", cache.experts()},
              {"evict", evict_name(cache.evict())},
              {"engine", cache.engine()},
              {"prompt_chunk", prompt_chunk},
              {"hits", c.hits},
              {"misses", c.misses},
              {"hit_ratio", c.hit_ratio()},
              {"bytes_read", c.bytes_read},
              {"bytes_read_per_s", quotient(static_cast<double>(c.bytes_read), c.passed_s)},
              {"stall_s", c.stall_s},
              {"preferred_slots", c.preferred_slots},
              {"skipped_slots", c.skipped_slots},
              {"verified", cache.verifies_reads()},
              {"prefetch", prefetch_name(cache.prefetch())}};
  if (const std::optional<double> bound = belady_of(cache)) out["belady_hit_ratio"] = *bound;
  if (cache.prefetch() == Prefetch::kNone) return out;
  out["prefetch_hits"] = c.prefetch_hits;
  out["late_prefetches"] = c.late_prefetches;
  out["wasted_prefetches"] = c.wasted_prefetches;
  out["dropped_prefetches"] = c.dropped_prefetches;
  out["guessed"] = c.guessed;
  out["recall"] = c.recall();
  out["precision"] = c.precision();
  return out;
}

std::string streaming_line(const ExpertCache& cache) {
  const ExpertCacheCounters c = cache.counters();
  char text[320];
  std::snprintf(text, sizeof text, "%.0f %% of experts were in memory, %s read at %s/s, %.2f s stalled",
                100 * c.hit_ratio(), bytes_text(c.bytes_read).c_str(),
                bytes_text(static_cast<std::int64_t>(quotient(static_cast<double>(c.bytes_read), c.passed_s))).c_str(),
                c.stall_s);
  std::string line = text;
  if (const std::optional<double> bound = belady_of(cache)) {
    line += "; Belady's policy would have had " + fixed(100 * *bound, 0) + " % in memory";
  }
  if (c.preferred_slots > 0) line += "; " + std::to_string(c.preferred_slots) + " choices moved to experts in memory";
  if (c.skipped_slots > 0) line += "; " + std::to_string(c.skipped_slots) + " left out as late";
  if (cache.prefetch() == Prefetch::kNone) return line;
  std::snprintf(
      text, sizeof text,
      "; %s: %lld prefetched in time, %lld late, %lld wasted, %lld dropped, recall %.0f %%, precision %.0f %%",
      std::string(prefetch_name(cache.prefetch())).c_str(), static_cast<long long>(c.prefetch_hits),
      static_cast<long long>(c.late_prefetches), static_cast<long long>(c.wasted_prefetches),
      static_cast<long long>(c.dropped_prefetches), 100 * c.recall(), 100 * c.precision());
  return line + text;
}

}  // namespace junto
