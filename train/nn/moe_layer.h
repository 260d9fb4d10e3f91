// A layer of experts under autograd: rounds of route, dispatch, expert and combine on rows [units, D]. It knows
// nothing of tokens, sequences or vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "moe/expert_kind.h"
#include "moe/rounds.h"
#include "moe/router_spec.h"
#include "train/nn/grouped_experts.h"
#include "train/nn/parameters.h"
#include "train/nn/route.h"
#include "train/nn/router_training.h"
#include "train/nn/stage_clock.h"
#include "train/parallel/expert_share.h"

namespace junto {

/// E experts, those with weights first, then constant, copy and zero ones (MoE++, arXiv 2410.07348).
struct MoeShape {
  RouterSpec router;
  RouterTraining router_training;
  Activation activation;  // of experts with weights; identity without a gate: LoRA experts, of rank expert_width
  std::int64_t expert_width = 0;  // of each expert with weights
  int constant_experts = 0;       // a * x + b * v, (a, b) = softmax of two products with x
  int copy_experts = 0;
  int zero_experts = 0;
  std::int64_t shared_width = 0;  // of a SwiGLU expert that all units go through; 0: none
  Rounds rounds;
  float input_scale =
      1.0f;  // of what routed experts read, free ones too; routers and the shared expert read it unscaled

  int free_experts() const { return constant_experts + copy_experts + zero_experts; }
  int weighted_experts() const { return router.experts - free_experts(); }
  ExpertKind kind_of(int expert) const;
};

/// Throws Error naming `where` and the field where parts of the shape contradict one another.
void check_moe_shape(const MoeShape& shape, std::string_view where);

struct MoeParameters {
  struct Router {
    at::Tensor hidden;          // [logits_hidden, D] of two-layer logits
    at::Tensor logits;          // [E, D] or [E, logits_hidden]
    at::Tensor residual;        // [E, E] of a gating residual; none in the first routing of a model
    at::Tensor noise;           // [E, D] of learned noise; not part of the finished model
    at::Tensor selection_bias;  // [E], no parameter: loss-free balancing moves it
  };
  std::vector<Router> routers;             // shape.rounds.routers()
  at::Tensor expert_gate_up, expert_down;  // [weighted experts here, 2H or H, D], [weighted experts here, D, H]
  at::Tensor constants, constant_mix;      // [C, D], [C, 2, D]
  at::Tensor gate_up, down;                // of the shared expert: [2S, D], [D, S]
  std::shared_ptr<ExpertGradients> gradients;
  std::shared_ptr<const ExpertShare> share;  // of the experts with weights; null: all are here, as in one process

  bool parted() const { return share != nullptr && share->parted(); }
};

/// A router, and where its plans stand among all routings of a batch.
struct RouterPlace {
  std::string bias_name;      // of its selection bias in a checkpoint: "blk.3.exp_probs_b.bias"
  at::Tensor selection_bias;  // [E], undefined where the spec has none
  std::vector<std::size_t> routed;
};

/// The parameters to be made, named as the engine names tensors where it has them, after `prefix` ("blk.3.").
/// `carried_experts`: E of the routing below, whose logits a gating residual reads; 0: there is none. Matrices have
/// `deviation`, those whose output joins the residual stream `residual_deviation`, LoRA's begin at 0 there.
/// `parameters.share` says which experts are kept.
void request_moe_parameters(const MoeShape& shape, std::int64_t hidden, const std::string& prefix, int carried_experts,
                            double deviation, double residual_deviation, MoeParameters& parameters,
                            std::vector<Parameters::Request>& requests);

/// The spec's router as it is, and as it is while training.
struct MoeRouters {
  CompiledRouter finished, training;
};
MoeRouters compile_routers(const MoeShape& shape);

/// What a forward pass brings to its routings, and takes from one to the next.
struct MoePass {
  bool training = false;            // noise, capacity and rules of training
  DrawPlace place;                  // of what is drawn; `routing` counts up
  std::vector<std::int64_t> keys;   // [units] or empty
  StageClock* experts = nullptr;    // takes the time of experts; null: none
  at::Tensor carried_logits;        // [units, E] of the last routing, before noise; undefined before the first
  std::vector<RoutedUnits> routed;  // of each routing so far
};

/// x [units, D] -> [units, D], to be joined to the residual stream. Routers read `router_input` where it is defined, x
/// otherwise.
at::Tensor moe_layer(const MoeShape& shape, const MoeRouters& routers, const MoeParameters& parameters,
                     const at::Tensor& x, MoePass& pass, const at::Tensor& router_input = {});

/// Logits [units, E] of `router` on x, with what the carried logits add.
at::Tensor router_logits(const RouterSpec& spec, const MoeParameters::Router& router, const at::Tensor& x,
                         const at::Tensor& carried_logits);

/// Products and sums of matrices that one row costs in the router, and in one expert with weights.
double router_flops(const MoeShape& shape, std::int64_t hidden);
double expert_flops(const MoeShape& shape, std::int64_t hidden);

/// Slots of experts with weights: what costs.
std::int64_t weighted_slots(const MoeShape& shape, const RoutePlan& plan);

}  // namespace junto
