// The softmax over the keys of a paged cache. Keys are walked in spans of 256 at absolute positions: each span gives a
// softmax of its own, and the spans are joined in order (the online softmax of Milakov and Gimelshein, arXiv
// 1805.02867, by spans). So a query's arithmetic depends on its position alone: not on the queries that share its tile,
// nor on whether one thread walks all spans of it (prompts) or several share them out (a long context, few rows).
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention.h"
#include "kernels/row_kernels.h"
#include "model/forward_pass.h"

namespace junto {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr std::int64_t kSpan = 256;  // positions
constexpr int kMostQueries = 16;     // of a task: their scores of a span stay in the first-level cache
constexpr int kTasksPerThread = 4;   // enough to balance without sharing out spans

std::int64_t first_visible(const Attend& spec, std::int64_t position) {
  std::int64_t first = 0;
  if (spec.window > 0) first = std::max<std::int64_t>(first, position - spec.window + 1);
  if (spec.chunk > 0) first = std::max(first, position / spec.chunk * spec.chunk);
  return first;
}

/// Queries of one task: heads [first_head, first_head + heads) of every row of a tile. They share one KV head, or are
/// those of several units and of one row.
struct Task {
  std::span<const PlacedRow> rows;
  std::int64_t first_row = 0;
  std::int64_t first_head = 0;
  int heads = 0;
  std::int64_t first_unit = 0;
  int units = 1;

  /// Queries [u * shared(), (u + 1) * shared()) read the same keys.
  int shared() const { return queries() / units; }
  int queries() const { return static_cast<int>(rows.size()) * heads; }
  const PlacedRow& row_of(int query) const { return rows[static_cast<std::size_t>(query / heads)]; }
  std::int64_t head_of(int query) const { return first_head + query % heads; }
};

class Attention {
 public:
  Attention(Pass& pass, const KvRegion& region, const Attend& spec, MatrixView<const float> q, MatrixView<float> out)
      : pass_(pass),
        region_(region),
        spec_(spec),
        q_(q),
        out_(out),
        scratch_(pass.w.attend),
        chunks_((spec.heads_per_unit + kMostQueries - 1) / kMostQueries) {
    cut_tiles();
    bundle_units();
    scratch_.of_worker.resize(static_cast<std::size_t>(pass.pool.threads()));
    for (std::vector<float>& memory : scratch_.of_worker) {
      const auto needed = static_cast<std::size_t>(kMostQueries * (kSpan + 2 * spec.value_dim));
      if (memory.size() < needed) memory.resize(needed);
    }
  }

  void run() {
    const std::int64_t tasks = static_cast<std::int64_t>(scratch_.tiles.size()) * bundles() * chunks_;
    std::int64_t spans = 1;
    for (const PlacedRow& row : pass_.rows) spans = std::max(spans, (row.visible_end + kSpan - 1) / kSpan);
    if (spans == 1 || tasks >= std::int64_t{kTasksPerThread} * pass_.pool.threads()) {
      pass_.pool.for_each_block(tasks, [&](std::int64_t t, int worker) { walk(task(t), worker); });
    } else {
      share_out(tasks, spans);
    }
  }

 private:
  // Rows of a sequence follow each other in a call.
  void cut_tiles() {
    const int most = std::max(1, kMostQueries / spec_.heads_per_unit);
    scratch_.tiles.clear();
    for (std::int64_t r = 0; r < pass_.count(); ++r) {
      const bool joins = !scratch_.tiles.empty() && scratch_.tiles.back().rows < most &&
                         pass_.rows[r].sequence == pass_.rows[r - 1].sequence;
      if (joins)
        ++scratch_.tiles.back().rows;
      else
        scratch_.tiles.push_back({r, 1});
    }
  }

  // Heads lie side by side in a page, 8 KiB of keys each as a rule: too short a stream of memory. Where every tile is
  // one row, a task takes several units and goes through a page head by head.
  void bundle_units() {
    constexpr std::int64_t kTasks = 2;  // of a thread, at least
    if (chunks_ > 1 || spec_.values_in_keys) return;
    for (const RowTile& tile : scratch_.tiles) {
      if (tile.rows > 1) return;
    }
    const std::int64_t units = static_cast<std::int64_t>(scratch_.tiles.size()) * spec_.units;
    bundle_ = std::min<std::int64_t>(
        {kMostQueries / spec_.heads_per_unit, spec_.units, units / (kTasks * pass_.pool.threads())});
    bundle_ = std::max<std::int64_t>(bundle_, 1);
  }

  std::int64_t bundles() const { return (spec_.units + bundle_ - 1) / bundle_; }

  Task task(std::int64_t index) const {
    const std::int64_t chunk = index % chunks_, unit = index / chunks_ % bundles() * bundle_;
    const RowTile& tile = scratch_.tiles[static_cast<std::size_t>(index / chunks_ / bundles())];
    Task out;
    out.rows = pass_.rows.subspan(static_cast<std::size_t>(tile.first), static_cast<std::size_t>(tile.rows));
    out.first_row = tile.first;
    out.first_head = unit * spec_.heads_per_unit + chunk * kMostQueries;
    out.units = static_cast<int>(std::min(bundle_, spec_.units - unit));
    out.heads =
        out.units * static_cast<int>(std::min<std::int64_t>(kMostQueries, spec_.heads_per_unit - chunk * kMostQueries));
    out.first_unit = unit;
    return out;
  }

  // The span's softmax for every query: parts[t] and sums[t * value_dim ..]. Total 0: the query sees none of its keys.
  void attend_span(const Task& task, std::int64_t span, float* scores, SoftmaxPart* parts, float* sums) const {
    std::int64_t first = (span + 1) * kSpan, end = span * kSpan;
    for (const PlacedRow& row : task.rows) {
      first = std::min(first, std::max(span * kSpan, first_visible(spec_, row.position)));
      end = std::max(end, std::min((span + 1) * kSpan, row.visible_end));
    }
    first = first / kPagePositions * kPagePositions;
    const int queries = task.queries();
    std::fill_n(sums, std::int64_t{queries} * spec_.value_dim, 0.0f);
    for (int t = 0; t < queries; ++t) parts[t] = {kMinusInfinity, 0};
    if (first >= end) return;

    for (std::int64_t base = first; base < end; base += kPagePositions) {
      ask_for_page(task, base, base + kPagePositions < end);
      score(task, base, scores + (base - first));
    }
    const std::int64_t width = (end - first + kPagePositions - 1) / kPagePositions * kPagePositions;
    for (int t = 0; t < queries; ++t) parts[t] = weigh(task.row_of(t), first, width, scores + t * kSpan);
    for (std::int64_t base = first; base < end; base += kPagePositions) {
      const auto count = static_cast<std::size_t>(std::min<std::int64_t>(kPagePositions, end - base));
      add(task, base, count, scores + (base - first), sums);
    }
  }

  static const KvPage& page_of(const Task& task, std::int64_t position) {
    return *task.rows[0].sequence->pages[static_cast<std::size_t>(position / kPagePositions)];
  }

  int kv_head_of(const Task& task, int unit) const {
    return static_cast<int>((task.first_unit + unit) % region_.heads);
  }

  // A unit's part of a page is a few KiB, too short for the hardware's prefetcher to follow: while a page is scored,
  // its values and the next one's keys are on their way.
  void ask_for_page(const Task& task, std::int64_t base, bool has_next) const {
    if (task.units > 1) return;
    const auto ask = [](const std::byte* data, std::size_t bytes) {
      for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(data + at);
    };
    if (!spec_.values_in_keys) {
      ask(page_of(task, base).value(region_, kv_head_of(task, 0), 0), region_.value_row_bytes * kPagePositions);
    }
    if (has_next) {
      ask(page_of(task, base + kPagePositions).key(region_, kv_head_of(task, 0), 0),
          region_.key_row_bytes * kPagePositions);
    }
  }

  // Scores of the page's keys, all of them; those of query t at scores + t * kSpan.
  void score(const Task& task, std::int64_t base, float* scores) const {
    const KvPage& page = page_of(task, base);
    const auto dim = static_cast<std::size_t>(spec_.key_dim);
    const float* q[kMostQueries];
    float* to[kMostQueries];
    const int queries = task.queries();
    for (int t = 0; t < queries; ++t) {
      q[t] = q_.row(task.first_row + t / task.heads).data() + task.head_of(t) * spec_.key_dim;
      to[t] = scores + t * kSpan;
    }
    for (int unit = 0; unit < task.units; ++unit) {
      const std::byte* const keys = page.key(region_, kv_head_of(task, unit), 0);
      const auto first = static_cast<std::size_t>(unit * task.shared()),
                 count = static_cast<std::size_t>(task.shared());
      if (region_.keys_by_dimension) {
        score_page({q + first, count}, dim, {region_.type, keys}, {to + first, count});
        continue;
      }
      for (std::size_t t = first; t < first + count; ++t)
        dot_keys({q[t], dim}, {region_.type, keys, region_.key_row_bytes}, {to[t], kPageKeys});
    }
  }

  // Scores of the keys from `first` on become exp(score - maximum); 0 where the row does not see the key.
  SoftmaxPart weigh(const PlacedRow& row, std::int64_t first, std::int64_t width, float* scores) const {
    const RowKernels& kernels = row_kernels();
    const auto count = static_cast<std::size_t>(width);
    kernels.scale(scores, count, spec_.scale);
    if (spec_.softcap > 0) kernels.softcap(scores, count, spec_.softcap);
    const std::int64_t before = std::clamp<std::int64_t>(first_visible(spec_, row.position) - first, 0, width);
    const std::int64_t visible = std::clamp<std::int64_t>(row.visible_end - first, 0, width);
    std::fill_n(scores, before, kMinusInfinity);
    std::fill(scores + visible, scores + width, kMinusInfinity);
    SoftmaxPart part;
    part.maximum = kernels.largest(scores, count);
    if (part.maximum == kMinusInfinity && before >= visible) {
      std::fill_n(scores, width, 0.0f);
    } else {
      part.total = kernels.exp_in_place(scores, count, part.maximum);
    }
    return part;
  }

  void add(const Task& task, std::int64_t base, std::size_t count, const float* weights, float* sums) const {
    const KvPage& page = page_of(task, base);
    const auto dim = static_cast<std::size_t>(spec_.value_dim);
    const auto queries = static_cast<std::size_t>(task.queries());
    const float* from[kMostQueries];
    float* to[kMostQueries];
    for (std::size_t t = 0; t < queries; ++t) from[t] = weights + t * kSpan, to[t] = sums + t * dim;
    for (int unit = 0; unit < task.units; ++unit) {
      const int head = kv_head_of(task, unit);
      const auto first = static_cast<std::size_t>(unit * task.shared()),
                 shared = static_cast<std::size_t>(task.shared());
      if (!spec_.values_in_keys) {
        const StoredRows values = {region_.type, page.value(region_, head, 0), region_.value_row_bytes};
        add_values({from + first, shared}, count, values, dim, {to + first, shared});
        continue;
      }
      const StoredRows values = {region_.type, page.key(region_, head, 0), region_.key_row_bytes};
      for (std::size_t t = first; t < first + shared; ++t) accumulate_values({from[t], count}, values, {to[t], dim});
    }
  }

  // `joined` and `out` take in one more span.
  void join(const SoftmaxPart& part, const float* sums, SoftmaxPart& joined, std::span<float> out) const {
    if (part.total == 0) return;
    const float maximum = std::max(joined.maximum, part.maximum);
    const float old_share = std::exp(joined.maximum - maximum), new_share = std::exp(part.maximum - maximum);
    joined = {maximum, joined.total * old_share + part.total * new_share};
    for (std::size_t d = 0; d < out.size(); ++d) out[d] = out[d] * old_share + sums[d] * new_share;
  }

  SoftmaxPart begin(std::int64_t head, std::span<float> out) const {
    std::fill(out.begin(), out.end(), 0.0f);
    if (spec_.sinks.empty()) return {kMinusInfinity, 0};
    return {spec_.sinks[static_cast<std::size_t>(head)], 1};
  }

  std::span<float> out_of(const Task& task, int query) const {
    return out_.row(task.first_row + query / task.heads)
        .subspan(static_cast<std::size_t>(task.head_of(query) * spec_.value_dim),
                 static_cast<std::size_t>(spec_.value_dim));
  }

  static void divide(std::span<float> out, float total) {
    for (float& value : out) value /= total;
  }

  // One thread goes through all spans of a task.
  void walk(const Task& task, int worker) const {
    float* const scores = scratch_.of_worker[static_cast<std::size_t>(worker)].data();
    float* const sums = scores + kMostQueries * kSpan;
    SoftmaxPart parts[kMostQueries], joined[kMostQueries];
    const int queries = task.queries();
    for (int t = 0; t < queries; ++t) joined[t] = begin(task.head_of(t), out_of(task, t));
    std::int64_t first = std::numeric_limits<std::int64_t>::max(), end = 0;
    for (const PlacedRow& row : task.rows) {
      first = std::min(first, first_visible(spec_, row.position));
      end = std::max(end, row.visible_end);
    }
    for (std::int64_t span = first / kSpan; span * kSpan < end; ++span) {
      attend_span(task, span, scores, parts, sums);
      for (int t = 0; t < queries; ++t) {
        join(parts[t], sums + std::int64_t{t} * spec_.value_dim, joined[t], out_of(task, t));
      }
    }
    for (int t = 0; t < queries; ++t) divide(out_of(task, t), joined[t].total);
  }

  // Threads share the spans of all tasks, then the queries whose spans are to be joined.
  void share_out(std::int64_t tasks, std::int64_t spans) {
    const auto cells = static_cast<std::size_t>(tasks * spans * kMostQueries);
    if (scratch_.parts.size() < cells) scratch_.parts.resize(cells);
    if (scratch_.sums.size() < cells * static_cast<std::size_t>(spec_.value_dim)) {
      scratch_.sums.resize(cells * static_cast<std::size_t>(spec_.value_dim));
    }
    const auto cell = [&](std::int64_t t, std::int64_t span) { return (t * spans + span) * kMostQueries; };
    pass_.pool.for_each_block(tasks * spans, [&](std::int64_t i, int worker) {
      const std::int64_t at = cell(i / spans, i % spans);
      attend_span(task(i / spans), i % spans, scratch_.of_worker[static_cast<std::size_t>(worker)].data(),
                  scratch_.parts.data() + at, scratch_.sums.data() + at * spec_.value_dim);
    });
    pass_.pool.for_each_block(tasks, [&](std::int64_t i, int) {
      const Task t = task(i);
      for (int query = 0; query < t.queries(); ++query) {
        const std::span<float> out = out_of(t, query);
        SoftmaxPart joined = begin(t.head_of(query), out);
        for (std::int64_t span = 0; span < spans; ++span) {
          const std::int64_t at = cell(i, span) + query;
          join(scratch_.parts[static_cast<std::size_t>(at)], scratch_.sums.data() + at * spec_.value_dim, joined, out);
        }
        divide(out, joined.total);
      }
    });
  }

  Pass& pass_;
  const KvRegion& region_;
  const Attend& spec_;
  MatrixView<const float> q_;
  MatrixView<float> out_;
  AttendScratch& scratch_;
  std::int64_t chunks_;      // tasks that share the heads of a unit
  std::int64_t bundle_ = 1;  // units of a task
};

}  // namespace

void attend(Pass& pass, const KvRegion& region, const Attend& spec, MatrixView<const float> q, MatrixView<float> out) {
  Attention(pass, region, spec, q, out).run();
  for (const PlacedRow& row : pass.rows) {
    const std::int64_t keys = row.visible_end - first_visible(spec, row.position);
    pass.counters.bytes_read +=
        keys * region.heads * static_cast<std::int64_t>(region.key_row_bytes + region.value_row_bytes);
  }
}

}  // namespace junto
