// Causal attention with rotary positions as one function of autograd: no tensor of all pairs of positions is made, kept
// or copied, and products of one (sequence, head) are computed where its keys are in cache. float32 or float64.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace junto {

/// Sizes of a batch of sequences of one length, and of heads that may share keys and values: head h reads those of h /
/// (heads / kv_heads).
struct AttentionShape {
  std::int64_t sequences = 1, length = 1;
  std::int64_t heads = 1, kv_heads = 1, head_dim = 2;
};

/// out[t] = for each head the sum over positions s <= t of the same sequence of softmax_s(q[t] . k[s] / sqrt(head_dim))
/// v[s].
///
/// q [sequences * length, heads * head_dim]; k and v [sequences * length, kv_heads * head_dim]; out as q. `cosine` and
/// `sine` [at least length, head_dim / 2] turn the halves of queries and keys by their position in the sequence
/// (rotary positions, Su et al., arXiv 2104.09864; no gradient); undefined: nothing turns. Kept for backward: turned q
/// and k, v, out and one value for each row and head; the weights are computed again, in blocks of rows (Dao et al.,
/// arXiv 2205.14135). The bits of out and gradients do not depend on the number of threads. There is no second
/// derivative: backward under create_graph throws.
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& cosine,
                            const at::Tensor& sine, const AttentionShape& shape);

}  // namespace junto
