#include "train/nn/attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "train/nn/blas.h"
#include "train/nn/exponential.h"

namespace junto {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Queries of one product. More: fewer passes over the keys, but more pairs that causality leaves out.
constexpr std::int64_t kQueries = 64;

/// Each head's halves of one row turned by the row's angles, times `scale`; `back`: by the opposite angles.
template <class T>
[[gnu::always_inline]] inline void turn_row(const T* row, const T* cosine, const T* sine, std::int64_t heads,
                                            std::int64_t head_dim, T scale, bool back, T* out) {
  const std::int64_t half = head_dim / 2;
  const T sign = back ? T(-1) : T(1);
  for (std::int64_t head = 0; head < heads; ++head, row += head_dim, out += head_dim) {
    if (cosine == nullptr) {
      for (std::int64_t i = 0; i < head_dim; ++i) out[i] = row[i] * scale;
      continue;
    }
#pragma GCC ivdep
    for (std::int64_t i = 0; i < half; ++i) {
      const T first = row[i], second = row[half + i], turned = sign * sine[i];
      out[i] = (first * cosine[i] - second * turned) * scale;
      out[half + i] = (second * cosine[i] + first * turned) * scale;
    }
  }
}

/// Scores of `rows` queries, the first of which is at position `first`, with positions 0 .. columns - 1 become weights,
/// 0 where the key is later; log_sum [rows], `stride` apart: the logarithm of the sum of e^score.
template <class T>
[[gnu::always_inline]] inline void softmax_rows(T* scores, std::int64_t rows, std::int64_t first, std::int64_t columns,
                                                T* log_sum, std::int64_t stride) {
  for (std::int64_t r = 0; r < rows; ++r) {
    T* row = scores + r * columns;
    const std::int64_t seen = first + r + 1;
    const T largest = largest_in_lanes(row, seen);
    for (std::int64_t s = 0; s < seen; ++s) row[s] = exponential(row[s] - largest);
    const T sum = sum_in_lanes<T>(
        seen, [&](std::int64_t s) __attribute__((always_inline)) { return row[s]; });
    const T factor = T(1) / sum;
    for (std::int64_t s = 0; s < seen; ++s) row[s] *= factor;
    std::fill(row + seen, row + columns, T(0));
    log_sum[r * stride] = largest + std::log(sum);
  }
}

/// From scores and d_weights [rows, columns]: weights and d_scores in their places. `inner` [rows]: the sum over
/// positions of weight times d_weight.
template <class T>
[[gnu::always_inline]] inline void softmax_rows_backward(T* scores, T* d_weights, std::int64_t rows, std::int64_t first,
                                                         std::int64_t columns, const T* log_sum, std::int64_t stride,
                                                         const T* inner) {
  for (std::int64_t r = 0; r < rows; ++r) {
    T *row = scores + r * columns, *d_row = d_weights + r * columns;
    const std::int64_t seen = first + r + 1;
    const T log = log_sum[r * stride], middle = inner[r];
#pragma GCC ivdep
    for (std::int64_t s = 0; s < seen; ++s) {
      const T weight = exponential(row[s] - log);
      row[s] = weight;
      d_row[s] = weight * (d_row[s] - middle);
    }
    std::fill(row + seen, row + columns, T(0));
    std::fill(d_row + seen, d_row + columns, T(0));
  }
}

JUNTO_CLONES void turn(const float* row, const float* cosine, const float* sine, std::int64_t heads,
                       std::int64_t head_dim, float scale, bool back, float* out) {
  turn_row(row, cosine, sine, heads, head_dim, scale, back, out);
}
void turn(const double* row, const double* cosine, const double* sine, std::int64_t heads, std::int64_t head_dim,
          double scale, bool back, double* out) {
  turn_row(row, cosine, sine, heads, head_dim, scale, back, out);
}
JUNTO_CLONES void causal_softmax(float* scores, std::int64_t rows, std::int64_t first, std::int64_t columns,
                                 float* log_sum, std::int64_t stride) {
  softmax_rows(scores, rows, first, columns, log_sum, stride);
}
void causal_softmax(double* scores, std::int64_t rows, std::int64_t first, std::int64_t columns, double* log_sum,
                    std::int64_t stride) {
  softmax_rows(scores, rows, first, columns, log_sum, stride);
}
JUNTO_CLONES void causal_softmax_backward(float* scores, float* d_weights, std::int64_t rows, std::int64_t first,
                                          std::int64_t columns, const float* log_sum, std::int64_t stride,
                                          const float* inner) {
  softmax_rows_backward(scores, d_weights, rows, first, columns, log_sum, stride, inner);
}
void causal_softmax_backward(double* scores, double* d_weights, std::int64_t rows, std::int64_t first,
                             std::int64_t columns, const double* log_sum, std::int64_t stride, const double* inner) {
  softmax_rows_backward(scores, d_weights, rows, first, columns, log_sum, stride, inner);
}

/// [rows, heads * head_dim], from sequences of `length`; `out` may be `in`.
template <class T>
void turn_rows(const T* in, const T* cosine, const T* sine, const AttentionShape& n, std::int64_t heads, T scale,
               bool back, T* out) {
  const std::int64_t width = heads * n.head_dim, half = n.head_dim / 2;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < n.sequences * n.length; ++row) {
    const std::int64_t at = row % n.length * half;
    turn(in + row * width, cosine != nullptr ? cosine + at : nullptr, sine != nullptr ? sine + at : nullptr, heads,
         n.head_dim, scale, back, out + row * width);
  }
}

/// Where the rows of one sequence begin in an array of so many heads a row, and of which head.
std::int64_t place_of_head(const AttentionShape& n, std::int64_t sequence, std::int64_t heads, std::int64_t head) {
  return sequence * n.length * heads * n.head_dim + head * n.head_dim;
}

// q is turned and scaled, k turned. A task is a block of queries of one head.
template <class T>
void attend_heads(const AttentionShape& n, const T* q, const T* k, const T* v, T* out, T* log_sum) {
  const std::int64_t S = n.length, d = n.head_dim, blocks = (S + kQueries - 1) / kQueries;
  const std::int64_t wide = n.heads * d, narrow = n.kv_heads * d, shared = n.heads / n.kv_heads;
#pragma omp parallel
  {
    const auto scores = std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(kQueries * S));
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t task = 0; task < n.sequences * n.heads * blocks; ++task) {
      const std::int64_t first = task % blocks * kQueries, head = task / blocks % n.heads,
                         sequence = task / blocks / n.heads;
      const std::int64_t rows = std::min(kQueries, S - first), columns = first + rows;
      const std::int64_t at = place_of_head(n, sequence, n.heads, head) + first * wide;
      const std::int64_t keys = place_of_head(n, sequence, n.kv_heads, head / shared);
      gemm(Transposed::kNo, Transposed::kYes, rows, columns, d, q + at, wide, k + keys, narrow, T(0), scores.get(),
           columns);
      causal_softmax(scores.get(), rows, first, columns, log_sum + (sequence * S + first) * n.heads + head, n.heads);
      gemm(Transposed::kNo, Transposed::kNo, rows, d, columns, scores.get(), columns, v + keys, narrow, T(0), out + at,
           wide);
    }
  }
}

/// What attend_heads() read and wrote, and the gradient of what it wrote.
template <class T>
struct Attended {
  const T *q, *k, *v, *out, *d_out, *log_sum;
};

/// One head of keys with all heads of queries that read it. Gradients of turned q and k, and of v.
template <class T>
void attend_heads_backward(const AttentionShape& n, const Attended<T>& a, std::int64_t sequence, std::int64_t kv_head,
                           T* weights, T* d_scores, T* d_q, T* d_k, T* d_v) {
  const std::int64_t S = n.length, d = n.head_dim, blocks = (S + kQueries - 1) / kQueries;
  const std::int64_t wide = n.heads * d, narrow = n.kv_heads * d, shared = n.heads / n.kv_heads;
  const std::int64_t keys = place_of_head(n, sequence, n.kv_heads, kv_head);
  T inner[kQueries];
  for (std::int64_t head = kv_head * shared; head < (kv_head + 1) * shared; ++head) {
    // The last block first: it sees all keys, so that what it writes the others add to.
    for (std::int64_t block = blocks - 1; block >= 0; --block) {
      const std::int64_t first = block * kQueries, rows = std::min(kQueries, S - first), columns = first + rows;
      const std::int64_t at = place_of_head(n, sequence, n.heads, head) + first * wide;
      const T keep = head > kv_head * shared || block + 1 < blocks ? T(1) : T(0);
      gemm(Transposed::kNo, Transposed::kYes, rows, columns, d, a.q + at, wide, a.k + keys, narrow, T(0), weights,
           columns);
      gemm(Transposed::kNo, Transposed::kYes, rows, columns, d, a.d_out + at, wide, a.v + keys, narrow, T(0), d_scores,
           columns);
      for (std::int64_t r = 0; r < rows; ++r) {
        const T *out = a.out + at + r * wide, *d_out = a.d_out + at + r * wide;
        inner[r] = sum_in_lanes<T>(d, [&](std::int64_t i) { return out[i] * d_out[i]; });
      }
      causal_softmax_backward(weights, d_scores, rows, first, columns,
                              a.log_sum + (sequence * S + first) * n.heads + head, n.heads, inner);
      gemm(Transposed::kYes, Transposed::kNo, columns, d, rows, weights, columns, a.d_out + at, wide, keep, d_v + keys,
           narrow);
      gemm(Transposed::kYes, Transposed::kNo, columns, d, rows, d_scores, columns, a.q + at, wide, keep, d_k + keys,
           narrow);
      gemm(Transposed::kNo, Transposed::kNo, rows, d, columns, d_scores, columns, a.k + keys, narrow, T(0), d_q + at,
           wide);
    }
  }
}

template <class T>
void attend_all_backward(const AttentionShape& n, const Attended<T>& attended, T* d_q, T* d_k, T* d_v) {
#pragma omp parallel
  {
    const auto size = static_cast<std::size_t>(kQueries * n.length);
    const auto weights = std::make_unique_for_overwrite<T[]>(size),
               d_scores = std::make_unique_for_overwrite<T[]>(size);
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t task = 0; task < n.sequences * n.kv_heads; ++task) {
      attend_heads_backward(n, attended, task / n.kv_heads, task % n.kv_heads, weights.get(), d_scores.get(), d_q, d_k,
                            d_v);
    }
  }
}

template <class T>
const T* values_or_null(const at::Tensor& tensor) {
  return tensor.numel() > 0 ? tensor.data_ptr<T>() : nullptr;
}

template <class T>
T scale_of_scores(const AttentionShape& n) {
  return static_cast<T>(1.0 / std::sqrt(static_cast<double>(n.head_dim)));
}

struct CausalAttentionFunction : torch::autograd::Function<CausalAttentionFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q_in, const at::Tensor& k_in,
                            const at::Tensor& v_in, const at::Tensor& cosine, const at::Tensor& sine,
                            const AttentionShape& n) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const at::Tensor q_given = q_in.contiguous(), k_given = k_in.contiguous(), v = v_in.contiguous();
    const at::Tensor q = at::empty_like(q_given), k = at::empty_like(k_given), out = at::empty_like(q_given);
    const at::Tensor log_sum = at::empty({n.sequences * n.length, n.heads}, q_given.options().requires_grad(false));
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "causal_attention", [&] {
      const auto *of_cosine = values_or_null<scalar_t>(cosine), *of_sine = values_or_null<scalar_t>(sine);
      turn_rows<scalar_t>(q_given.data_ptr<scalar_t>(), of_cosine, of_sine, n, n.heads, scale_of_scores<scalar_t>(n),
                          false, q.data_ptr<scalar_t>());
      turn_rows<scalar_t>(k_given.data_ptr<scalar_t>(), of_cosine, of_sine, n, n.kv_heads, scalar_t(1), false,
                          k.data_ptr<scalar_t>());
      attend_heads<scalar_t>(n, q.data_ptr<scalar_t>(), k.data_ptr<scalar_t>(), v.data_ptr<scalar_t>(),
                             out.data_ptr<scalar_t>(), log_sum.data_ptr<scalar_t>());
    });
    context->save_for_backward({q, k, v, out, log_sum, cosine, sine});
    context->saved_data["sizes"] = c10::List<std::int64_t>({n.sequences, n.length, n.heads, n.kv_heads, n.head_dim});
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& d_outs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "causal_attention: there is no second derivative");
    at::AutoDispatchBelowADInplaceOrView guard;
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &log_sum = saved[4];
    const c10::List<std::int64_t> sizes = context->saved_data["sizes"].toIntList();
    const AttentionShape n{sizes.get(0), sizes.get(1), sizes.get(2), sizes.get(3), sizes.get(4)};
    const at::Tensor d_out = d_outs[0].contiguous();
    const at::Tensor d_q = at::empty_like(q), d_k = at::empty_like(k), d_v = at::empty_like(v);
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "causal_attention_backward", [&] {
      const Attended<scalar_t> attended{q.data_ptr<scalar_t>(),     k.data_ptr<scalar_t>(),
                                        v.data_ptr<scalar_t>(),     out.data_ptr<scalar_t>(),
                                        d_out.data_ptr<scalar_t>(), log_sum.data_ptr<scalar_t>()};
      attend_all_backward<scalar_t>(n, attended, d_q.data_ptr<scalar_t>(), d_k.data_ptr<scalar_t>(),
                                    d_v.data_ptr<scalar_t>());
      const auto *cosine = values_or_null<scalar_t>(saved[5]), *sine = values_or_null<scalar_t>(saved[6]);
      turn_rows<scalar_t>(d_q.data_ptr<scalar_t>(), cosine, sine, n, n.heads, scale_of_scores<scalar_t>(n), true,
                          d_q.data_ptr<scalar_t>());
      turn_rows<scalar_t>(d_k.data_ptr<scalar_t>(), cosine, sine, n, n.kv_heads, scalar_t(1), true,
                          d_k.data_ptr<scalar_t>());
    });
    return {d_q, d_k, d_v, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& cosine,
                            const at::Tensor& sine, const AttentionShape& n) {
  TORCH_CHECK(n.sequences > 0 && n.length > 0 && n.kv_heads > 0 && n.heads % n.kv_heads == 0,
              "causal_attention: ", n.heads, " heads of queries, ", n.kv_heads, " of keys, expected a divisor");
  const auto check = [&](const at::Tensor& tensor, std::int64_t heads, const char* name) {
    TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == n.sequences * n.length && tensor.size(1) == heads * n.head_dim,
                "causal_attention: ", name, " is ", tensor.sizes(), ", expected [", n.sequences * n.length, ", ",
                heads * n.head_dim, "]");
    TORCH_CHECK(tensor.scalar_type() == q.scalar_type(), "causal_attention: types differ");
  };
  check(q, n.heads, "q");
  check(k, n.kv_heads, "k");
  check(v, n.kv_heads, "v");
  TORCH_CHECK(cosine.defined() == sine.defined(), "causal_attention: one of cosine and sine");
  at::Tensor angles[2] = {at::empty({0}, q.options().requires_grad(false)), at::Tensor()};
  angles[1] = angles[0];
  if (cosine.defined()) {
    for (const auto& [given, made] : {std::pair(&cosine, &angles[0]), std::pair(&sine, &angles[1])}) {
      TORCH_CHECK(given->dim() == 2 && given->size(0) >= n.length && n.head_dim == 2 * given->size(1),
                  "causal_attention: angles are ", given->sizes(), ", expected [", n.length, ", ", n.head_dim / 2, "]");
      *made = given->to(q.scalar_type()).contiguous();
    }
  }
  return CausalAttentionFunction::apply(q, k, v, angles[0], angles[1], n);
}

}  // namespace junto
