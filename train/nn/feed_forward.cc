#include "train/nn/feed_forward.h"

#include <ATen/ATen.h>

namespace junto {
namespace {

at::Tensor activated(ActivationKind kind, const at::Tensor& x) {
  switch (kind) {
    case ActivationKind::kSilu:
      return at::silu(x);
    case ActivationKind::kGeluTanh:
      return at::gelu(x, "tanh");
    case ActivationKind::kGeluErf:
      return at::gelu(x);
    case ActivationKind::kRelu:
      return at::relu(x);
    case ActivationKind::kReluSquared:
      return at::relu(x).square();
    case ActivationKind::kIdentity:
      return x;
    case ActivationKind::kSwigluOai:
      break;
  }
  TORCH_CHECK(false, "feed_forward: swiglu_oai is not supported");
}

}  // namespace

at::Tensor feed_forward(const Activation& activation, const at::Tensor& x, const at::Tensor& gate_up,
                        const at::Tensor& down, const FeedForwardUpdates& updates) {
  const auto updated = [](const at::Tensor& product, const auto& update, const at::Tensor& input) {
    return update ? product + update(input) : product;
  };
  const at::Tensor projected = project(x, gate_up);
  const std::int64_t width = down.size(1);
  at::Tensor hidden;
  if (activation.gated) {
    const at::Tensor gate = updated(projected.narrow(1, 0, width), updates.gate, x);
    hidden = activated(activation.kind, gate) * updated(projected.narrow(1, width, width), updates.up, x);
  } else {
    hidden = activated(activation.kind, updated(projected, updates.up, x));
  }
  return updated(project(hidden, down), updates.down, hidden);
}

}  // namespace junto
