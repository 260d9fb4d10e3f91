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

at::Tensor project(const at::Tensor& x, const at::Tensor& weight) {
  return at::mm(x, weight.t());
}

at::Tensor feed_forward(const Activation& activation, const at::Tensor& x, const at::Tensor& gate_up,
                        const at::Tensor& down) {
  const at::Tensor projected = project(x, gate_up);
  if (!activation.gated) return project(activated(activation.kind, projected), down);
  const std::int64_t width = down.size(1);
  return project(activated(activation.kind, projected.narrow(1, 0, width)) * projected.narrow(1, width, width), down);
}

}  // namespace junto
