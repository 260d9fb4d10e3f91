// One Mixtral block, outputs and every gradient as torch computed them (testdata/oracles/README.md).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "format/safetensors.h"
#include "train/nn/grouped_experts.h"
#include "train/nn/losses.h"
#include "train/nn/route.h"

namespace junto {
namespace {

class MoeBlock : public testing::Test {
 protected:
  at::Tensor tensor(const std::string& name) const {
    const Tensor* found = file_.tensors.find(name);
    if (found == nullptr) {
      ADD_FAILURE() << name;
      return at::zeros({});
    }
    const at::Tensor values = at::empty(found->shape, at::kFloat);
    std::memcpy(values.data_ptr(), found->bytes.data(), found->bytes.size());
    return values;
  }
  at::Tensor leaf(const std::string& name) const { return tensor(name).set_requires_grad(true); }
  void expect(const at::Tensor& found, const std::string& name) const {
    ASSERT_TRUE(found.defined()) << name;
    const at::Tensor expected = tensor(name).reshape(found.sizes());
    EXPECT_LE((found.detach() - expected).abs().max().item<float>(), 1e-4 * expected.abs().max().item<float>()) << name;
  }

 private:
  SafetensorsFile file_ = open_safetensors(JUNTO_SOURCE_DIR "/testdata/oracles/moe_block_backward.safetensors");
};

TEST_F(MoeBlock, OutputsAndAllGradientsAreTheReferences) {
  const at::Tensor x = leaf("x"), gate = leaf("param.gate.weight");
  const at::Tensor gate_up = leaf("param.experts.gate_up_proj"), down = leaf("param.experts.down_proj");
  const CompiledRouter router =
      compile_router({.experts = 8, .select = TopK{2}, .weigh = Weigh::kRenormalised}, LayerPolicy());
  const RoutedUnits routed = route_under_autograd(router, at::mm(x, gate.t()));
  expect(routed.logits, "router_logits");
  const at::Tensor y = grouped_experts(x, routed.weights, gate_up, down, group_slots(routed.plan, 8));
  expect(y, "y");
  const at::Tensor balance = balance_loss(routed.scores, routed.plan), z = z_loss(routed.logits);
  expect(balance.reshape({1}), "aux_loss");
  expect(z.reshape({1}), "z_loss");
  const at::Tensor loss = (y * tensor("upstream")).sum() + 0.5 * balance + 0.1 * z;
  expect(loss.reshape({1}), "loss");
  loss.backward();
  expect(x.grad(), "grad.x");
  expect(gate.grad(), "grad.gate.weight");
  expect(gate_up.grad(), "grad.experts.gate_up_proj");
  expect(down.grad(), "grad.experts.down_proj");
}

}  // namespace
}  // namespace junto
