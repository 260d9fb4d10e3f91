#include "train/nn/recompute.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace junto {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What a node keeps beside tensors.
struct Body : torch::CustomClassHolder {
  TensorFunction call;
};

struct RecomputedFunction : torch::autograd::Function<RecomputedFunction> {
  static variable_list forward(AutogradContext* context, const at::TensorList& inputs,
                               const c10::intrusive_ptr<Body>& body) {
    context->save_for_backward(inputs.vec());
    context->saved_data["body"] = c10::IValue::make_capsule(body);
    context->set_materialize_grads(false);
    return body->call(inputs.vec());  // autograd is off here
  }

  static variable_list backward(AutogradContext* context, const variable_list& d_outs) {
    variable_list leaves;
    for (const at::Tensor& input : context->get_saved_variables()) {
      leaves.push_back(input.detach());
      leaves.back().set_requires_grad(input.requires_grad());
    }
    const auto body = context->saved_data["body"].toCapsule();
    variable_list roots, d_roots;
    {
      const at::AutoGradMode enable(true);
      const variable_list outs = static_cast<const Body&>(*body).call(leaves);
      for (std::size_t i = 0; i < outs.size(); ++i) {
        if (!d_outs[i].defined() || !outs[i].requires_grad()) continue;
        roots.push_back(outs[i]);
        d_roots.push_back(d_outs[i]);
      }
    }
    if (!roots.empty()) torch::autograd::backward(roots, d_roots);
    variable_list d_inputs;
    for (const at::Tensor& leaf : leaves) d_inputs.push_back(leaf.grad());
    d_inputs.emplace_back();  // of `body`
    return d_inputs;
  }
};

}  // namespace

std::vector<at::Tensor> recomputed(TensorFunction body, const std::vector<at::Tensor>& inputs) {
  const bool recorded =
      at::GradMode::is_enabled() &&
      std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& t) { return t.requires_grad(); });
  if (!recorded) return body(inputs);
  auto held = c10::make_intrusive<Body>();
  held->call = std::move(body);
  const at::TensorList list(inputs);  // a vector would not be seen as tensors
  return RecomputedFunction::apply(list, held);
}

}  // namespace junto
