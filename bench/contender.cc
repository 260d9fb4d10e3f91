// Junto as a contender of bench/peers/measure: a process that does one piece of work when it is told to.
//
//   contender MODEL --ids FILE --context N --tokens N [--threads N] [--kv f16|q8_0|f32] [--expert-memory SIZE]
//             [--evict P] [--hot-set TRACE] [--prefetch P] [--disk-limit RATE] [--chunk N] [--routes TRACE]
//
// FILE holds token ids, separated by white space; options of streaming and --routes are those of junto bench. The first
// N of --context are fed before anything is measured. Then every line of standard input is a command, answered by a
// line:
//
//   go I      computes `tokens` ids from place context + I * tokens of FILE on in one call (where experts are streamed
//             in as many as junto run would take), with the logits of the last of them; the sequence is cut back to the
//             context afterwards -> "seconds id", the likeliest token
//   probe     reads what the last `go` read, and nothing else: weights of attention, routers, the experts that it chose
//             and the head, and cached keys and values, in that order of memory and with the same threads -> "seconds
//             bytes". Experts of all rows together are read once. Nothing but additions is computed.
//   store     what streaming cost since the last `store`, where experts are streamed -> a JSON object
//   disk S    reads experts at random places of the file for S seconds, as streaming would -> "bytes per second"
//   Other lines are errors; the end of the input is the end.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "analyze/route_replay.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/freed_memory.h"
#include "cli/expert_memory.h"
#include "cli/machine.h"
#include "cli/session.h"
#include "kernels/matmul.h"
#include "model/decoder.h"

namespace junto {
namespace {

struct Options {
  ModelOptions model;
  std::string ids;
  std::int64_t context = 0;
  std::int64_t tokens = 1;
  std::string routes;
};

std::vector<std::int32_t> read_ids(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail(path, "cannot be opened");
  std::vector<std::int32_t> ids;
  for (std::int32_t id = 0; file >> id;) ids.push_back(id);
  if (!file.eof()) fail(path, "entry " + std::to_string(ids.size()) + " is no token id");
  return ids;
}

/// Memory that one step reads, in order, in pieces that threads claim.
class ReadList {
 public:
  void add(const void* data, std::size_t bytes) {
    constexpr std::size_t kPiece = std::size_t{128} << 10;
    const auto* at = static_cast<const std::byte*>(data);
    for (bytes_ += bytes; bytes > 0;) {
      const std::size_t part = std::min(bytes, kPiece);
      pieces_.push_back({at, part});
      at += part, bytes -= part;
    }
  }
  void add(const Linear& linear) {
    if (!linear.empty()) add(linear.weights.data, linear.weights.bytes());
  }
  void add(const ExpertWeights& expert) {
    for (const Linear* part : {&expert.gate, &expert.up, &expert.down}) add(*part);
  }

  std::size_t bytes() const { return bytes_; }
  /// Seconds that the threads take together.
  double read(ThreadPool& pool) const {
    std::vector<std::uint64_t> sums(pieces_.size());
    const double begin = now_s();
    pool.for_each_block(static_cast<std::int64_t>(pieces_.size()), [&](std::int64_t i, int) {
      const Piece& piece = pieces_[static_cast<std::size_t>(i)];
      sums[static_cast<std::size_t>(i)] =
          sum_words(reinterpret_cast<const std::uint64_t*>(piece.data), piece.bytes / sizeof(std::uint64_t) / 8 * 8);
    });
    const double seconds = now_s() - begin;
    volatile std::uint64_t used = 0;  // so that reading is not optimised away
    for (const std::uint64_t sum : sums) used = used ^ sum;
    return seconds;
  }

 private:
  struct Piece {
    const std::byte* data;
    std::size_t bytes;
  };
  std::vector<Piece> pieces_;
  std::size_t bytes_ = 0;
};

void add_mixer(const MixerWeights& mixer, ReadList& list) {
  if (const auto* a = std::get_if<AttentionWeights>(&mixer)) {
    for (const Linear* part : {&a->q, &a->k, &a->v, &a->gate, &a->output}) list.add(*part);
  } else if (const auto* m = std::get_if<MlaWeights>(&mixer)) {
    for (const Linear* part : {&m->q, &m->q_a, &m->q_b, &m->kv_a}) list.add(*part);
    for (const auto* heads : {&m->k_b, &m->v_b}) {
      for (const WeightMatrix& head : *heads) list.add(head.data, head.bytes());
    }
    list.add(m->output);
  } else {
    fail("contender", "the model has blocks without attention: their memory is not listed here");
  }
}

class Contender {
 public:
  explicit Contender(const Options& options) : options_(options), ids_(read_ids(options.ids)) {
    ModelOptions model = options.model;
    model.lazy_experts = false;  // what is measured is not the start
    session_ = open_session(model);
    if (static_cast<std::int64_t>(ids_.size()) < options.context + options.tokens) {
      fail(options.ids, "has " + std::to_string(ids_.size()) + " ids, expected at least " +
                            std::to_string(options.context + options.tokens));
    }
    start_decoder(session_, options.context + options.tokens);
    if (!options.routes.empty()) {
      replay_ = std::make_unique<RouteReplay>(read_trace(options.routes), session_.model->config, options.routes);
      hooks_ = replay_->hooks();
    }
    sequence_ = new_sequence(session_);
    const auto context = std::span(ids_).first(static_cast<std::size_t>(options.context));
    if (!context.empty()) session_.decoder->feed(sequence_, context);
  }

  void ready() const {
    std::printf("ready junto %s, %d threads\n", std::string(active_isa()).c_str(), session_.pool->threads());
    std::fflush(stdout);
  }

  void go(std::int64_t step) {
    last_ = step;
    const std::span<const std::int32_t> ids = step_ids();
    const double begin = now_s();
    const std::span<const float> logits = session_.decoder->feed(
        sequence_, ids, is_streaming(*session_.model) ? session_.chunk : 0, replay_ ? &hooks_ : nullptr);
    const double seconds = now_s() - begin;
    std::printf("%.9f %td\n", seconds, std::ranges::max_element(logits) - logits.begin());
    std::fflush(stdout);
    truncate(sequence_, options_.context);
  }

  void probe() {
    if (last_ < 0) fail("probe", "comes before the first go");
    const ReadList list = list_step();
    const double seconds = list.read(*session_.pool);
    truncate(sequence_, options_.context);  // the list names its pages
    std::printf("%.9f %zu\n", seconds, list.bytes());
    std::fflush(stdout);
  }

  void store() const {
    ExpertCache& cache = streaming("store");
    Json report = streaming_json(cache, session_.chunk);
    report["slot_bytes"] = cache.slot_bytes();
    report["experts_bytes"] = session_.model->routed_bytes;
    cache.reset_counters();
    std::printf("%s\n", report.dump().c_str());
    std::fflush(stdout);
  }

  void disk(std::int64_t seconds) const {
    std::printf("%.0f\n", streaming("disk").measure_disk(static_cast<double>(seconds)));
    std::fflush(stdout);
  }

 private:
  ExpertCache& streaming(const char* command) const {
    if (!is_streaming(*session_.model)) fail(command, "is of streamed experts, and all are in memory");
    return *session_.model->cache;
  }

  /// Wraps around where the file ends.
  std::span<const std::int32_t> step_ids() const {
    const std::int64_t steps = (static_cast<std::int64_t>(ids_.size()) - options_.context) / options_.tokens;
    return std::span(ids_).subspan(static_cast<std::size_t>(options_.context + last_ % steps * options_.tokens),
                                   static_cast<std::size_t>(options_.tokens));
  }

  /// Computes the last step again to see its routes; the sequence keeps its rows.
  ReadList list_step() {
    const Model& model = *session_.model;
    std::vector<std::vector<std::int32_t>> chosen(model.blocks.size());
    Hooks hooks;
    hooks.observe_points = mask_of(Point::kPlan);
    hooks.observe = [&](const Observation& seen) {
      if (!seen.mixer) chosen[static_cast<std::size_t>(seen.block)] = seen.plan->expert;
    };
    session_.decoder->feed(sequence_, step_ids(), 0, &hooks);
    ReadList list;
    const auto table = model.experts->snapshot();
    for (std::size_t b = 0; b < model.blocks.size(); ++b) {
      const BlockWeights& block = model.blocks[b];
      add_mixer(block.mixer, list);
      add_cache(b, list);
      list.add(block.dense);
      for (const RouterWeights& router : block.routers) list.add(router.logits);
      std::ranges::sort(chosen[b]);
      const auto end = std::ranges::unique(chosen[b]).begin();
      for (auto id = chosen[b].begin(); id != end; ++id) {
        const auto e = static_cast<std::size_t>(*id);
        if (e < table->layers[b].experts.size()) list.add(*table->layers[b].experts[e]);
      }
      list.add(block.shared);
    }
    list.add(model.output);
    return list;
  }

  /// Keys and values of one block, up to the last position.
  void add_cache(std::size_t block, ReadList& list) const {
    const KvRegion& region = session_.decoder->kv_layout().blocks[block];
    for (std::size_t p = 0; p < sequence_.pages.size(); ++p) {
      const auto filled =
          std::min<std::int64_t>(kPagePositions, sequence_.length() - static_cast<std::int64_t>(p) * kPagePositions);
      for (int head = 0; filled > 0 && head < region.heads; ++head) {
        const KvPage& page = *sequence_.pages[p];
        list.add(page.key(region, head, 0), region.key_row_bytes * static_cast<std::size_t>(filled));
        if (region.value_dim > 0)
          list.add(page.value(region, head, 0), region.value_row_bytes * static_cast<std::size_t>(filled));
      }
    }
  }

  Options options_;
  std::vector<std::int32_t> ids_;
  Session session_;
  std::unique_ptr<RouteReplay> replay_;
  Hooks hooks_;  // of the replay
  Sequence sequence_;
  std::int64_t last_ = -1;
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (!name.starts_with("--")) {
      options.model.path = name;
      continue;
    }
    if (++i == count) fail(name, "has no value");
    const std::string value = arguments[i];
    const auto number = [&] { return parse_numbers(value, name, "a number", std::int64_t{1} << 31).at(0); };
    if (name == "--ids")
      options.ids = value;
    else if (name == "--context")
      options.context = number();
    else if (name == "--tokens")
      options.tokens = std::max<std::int64_t>(1, number());
    else if (name == "--threads")
      options.model.threads = static_cast<int>(number());
    else if (name == "--kv")
      options.model.kv = value;
    else if (name == "--routes")
      options.routes = value;
    else if (name == "--expert-memory")
      options.model.experts.budget = value;
    else if (name == "--evict")
      options.model.experts.evict = value;
    else if (name == "--hot-set")
      options.model.experts.hot_set = value;
    else if (name == "--prefetch")
      options.model.experts.prefetch = value;
    else if (name == "--chunk")
      options.model.chunk = static_cast<int>(number());
    else if (name == "--disk-limit")
      options.model.experts.disk_limit = value;
    else
      fail(name, "is no option of contender");
  }
  if (options.model.path.empty() || options.ids.empty()) fail("contender", "needs MODEL and --ids FILE");
  return options;
}

}  // namespace
}  // namespace junto

int main(int count, char** arguments) {
  junto::return_freed_memory();
  try {
    junto::Contender contender(junto::parse(count, arguments));
    contender.ready();
    for (std::string line; std::getline(std::cin, line);) {
      if (line == "probe")
        contender.probe();
      else if (line == "store")
        contender.store();
      else if (line.starts_with("disk "))
        contender.disk(junto::parse_numbers(line.substr(5), "disk", "seconds", 60).at(0));
      else if (line.starts_with("go "))
        contender.go(junto::parse_numbers(line.substr(3), "go", "a step", 1 << 30).at(0));
      else
        junto::fail("contender", "command is \"" + line + "\", expected go I, probe, store or disk S");
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "contender: %s\n", error.what());
    return 1;
  }
}
