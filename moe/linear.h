// A linear layer: stored (quantised) weights, a bias, and read-only overlays that change the function without touching
// the weights: adapters, routed adapters, patches.
//
//   out = ((x w^T + bias) + overlay_0(x)) + overlay_1(x) ...      in this order, in float
//
// Row invariance: out[m, n] depends on row m of x and on n alone, to the bit, wherever ranges and row lists are cut.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul.h"
#include "moe/route.h"
#include "moe/router_spec.h"
#include "tensor/tensor.h"
#include "tensor/view.h"

namespace junto {

/// Adds scale * B (A x) (LoRA: Hu et al., arXiv 2106.09685).
struct LowRank {
  std::int64_t rank = 0;
  std::vector<float> a;             // [rank, K]
  std::vector<float> b_transposed;  // [rank, N]: neighbouring outputs are neighbours in memory
  float scale = 1.0f;
};

/// Adds, for each row, the weighted sum of the low-rank experts that a router of its own chooses. Weights multiply the
/// experts' outputs. Rows that the router gives no expert stay as they are.
struct RoutedLowRank {
  RouterSpec spec;            // spec.experts == experts.size(); see check_overlay_router()
  std::vector<float> router;  // [experts, K]
  std::vector<LowRank> experts;
};

/// Adds D x with D [N, K] dense, or in compressed rows where row_begin is not empty.
struct Delta {
  std::vector<float> values;            // dense: [N, K]; compressed: [entries]
  std::vector<std::int64_t> row_begin;  // compressed: [N + 1]
  std::vector<std::int32_t> column;     // compressed: [entries], ascending in each row
};

using Overlay = std::variant<LowRank, RoutedLowRank, Delta>;
using Overlays = std::vector<Overlay>;

struct Linear {
  WeightMatrix weights;                      // [N, K]
  std::vector<float> bias;                   // [N], or empty
  std::shared_ptr<const Overlays> overlays;  // null: none

  bool empty() const { return weights.rows == 0; }
  bool has_overlays() const { return overlays != nullptr && !overlays->empty(); }
  /// Weights, bias and overlays as they lie in memory.
  std::size_t bytes() const;
};

/// A [rank, K], B [N, rank] as adapters store them. Throws Error naming `where` where the shapes do not fit.
LowRank make_low_rank(const Tensor& a, const Tensor& b, float scale, std::string_view where);

/// Throws Error naming `where` where a size of the bias or of an overlay does not fit the weights, or an id is outside.
void check_linear(const Linear& linear, std::string_view where);

/// Throws Error naming `where`, what the spec has and what is expected, where it is no router of a RoutedLowRank: that
/// has linear logits of the layer's own input and knows nothing of tokens, other layers or later rows.
void check_overlay_router(const RouterSpec& spec, std::string_view where);

/// What the overlays take from each input row, computed once and read by all blocks of outputs.
struct OverlayScratch {
  struct Part {
    std::int64_t slots = 0;            // low-rank updates that a row can have
    std::int64_t rank = 0;             // the largest
    std::vector<std::int32_t> expert;  // [rows, slots], -1: none
    std::vector<float> products;       // [rows, slots, rank]: weight * scale * A x
  };
  struct Worker {
    std::vector<float> logits;
    RouteScratch route;
    RoutePlan plan;
  };
  std::vector<Part> parts;  // one for each overlay
  std::vector<Worker> workers;
};

/// Makes room for `rows` input rows and `workers` threads. Does nothing where the layer has no overlays.
void reserve_overlays(const Linear& linear, std::int64_t rows, int workers, OverlayScratch& scratch);

/// Fills rows [begin, end) of the scratch from x[x_rows[i]]; different threads may do different rows (with different
/// `worker`). Empty x_rows: the identity. Reads the float form of x.
void prepare_overlays(const Linear& linear, const ActivationRows& x, std::span<const std::int32_t> x_rows,
                      std::int64_t begin, std::int64_t end, int worker, OverlayScratch& scratch);

/// reserve and prepare for all rows, on the pool's threads. Returns at once where there are no overlays.
void prepare_overlays(const Linear& linear, const ActivationRows& x, std::span<const std::int32_t> x_rows,
                      ThreadPool& pool, OverlayScratch& scratch);

/// out[out_rows[i], n] = the layer applied to x[x_rows[i]], for n in `range`; empty id lists mean the identity. Where
/// the layer has overlays, prepare_overlays() must have filled rows prepared_begin + i of the scratch from the same
/// rows. Does not start threads.
void apply(const Linear& linear, RowRange range, const ActivationRows& x, std::span<const std::int32_t> x_rows,
           MatrixView<float> out, std::span<const std::int32_t> out_rows, const OverlayScratch& scratch,
           std::int64_t prepared_begin = 0);

/// The whole layer on all rows of x, on the pool's threads: prepare, then blocks of outputs.
void apply(const Linear& linear, const ActivationRows& x, MatrixView<float> out, ThreadPool& pool,
           OverlayScratch& scratch);

}  // namespace junto
