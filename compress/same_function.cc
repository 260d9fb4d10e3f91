#include "compress/same_function.h"

#include <cmath>
#include <cstddef>

namespace junto {
namespace {

bool near(float a, float b) {
  return std::abs(a - b) <= 1e-5f * std::max(std::abs(a), std::abs(b));
}

bool same_rotation(const Rope& a, const Rope& b) {
  if (a.dims != b.dims || a.inverse_frequency.size() != b.inverse_frequency.size()) return false;
  for (std::size_t i = 0; i < a.inverse_frequency.size(); ++i) {
    if (!near(a.inverse_frequency[i], b.inverse_frequency[i])) return false;
  }
  return near(a.magnitude, b.magnitude);
}

// One way of writing for routers that compute the same.
RouterSpec canonical(RouterSpec spec) {
  if (const auto* groups = std::get_if<GroupLimited>(&spec.select); groups && groups->top_groups == groups->groups) {
    spec.select = TopK{groups->k};
  }
  const bool plain = std::holds_alternative<TopK>(spec.select) && !spec.selection_bias && spec.logit_softcap == 0.0f &&
                     spec.weightless == 0;
  if (plain && spec.score != Score::kSigmoid) {
    if (spec.weigh == Weigh::kSoftmaxOfChosen) spec.score = Score::kSoftmax, spec.weigh = Weigh::kRenormalised;
    if (spec.weigh == Weigh::kSoftmaxOfAll) spec.score = Score::kSoftmax, spec.weigh = Weigh::kRaw;
  }
  if (spec.weigh != Weigh::kRenormalised) spec.renormalise_eps = spec.renormalise_min = 0.0f, spec.renormalise_p = 1.0f;
  // Guards against a division by zero, not part of the function.
  if (spec.renormalise_eps < 1e-6f) spec.renormalise_eps = 0.0f;
  if (spec.renormalise_min < 1e-4f) spec.renormalise_min = 0.0f;
  return spec;
}

bool same_router(const RouterSpec& a, const RouterSpec& b) {
  RouterSpec first = canonical(a);
  const RouterSpec second = canonical(b);
  if (near(first.scale, second.scale)) first.scale = second.scale;
  return first == second;
}

// What follows takes over from `b` what may differ, so that a plain comparison, which no new field escapes, decides.

void take(float& a, float b) {
  if (near(a, b)) a = b;
}

void take_rotation(int& a_rope, const ModelConfig& a, int b_rope, const ModelConfig& b) {
  if (a_rope >= 0 && b_rope >= 0 && same_rotation(a.ropes.at(a_rope), b.ropes.at(b_rope))) {
    a_rope = b_rope;
  } else if (a_rope >= 0) {
    a_rope = -2;  // equal to none
  }
}

void take_mixer(MixerSpec& a_mixer, const ModelConfig& a, const MixerSpec& b_mixer, const ModelConfig& b) {
  if (auto* x = std::get_if<AttentionSpec>(&a_mixer)) {
    if (const auto* y = std::get_if<AttentionSpec>(&b_mixer)) {
      take_rotation(x->rope, a, y->rope, b);
      take(x->scale, y->scale);
      take(x->temperature_slope, y->temperature_slope);
      // A window that no text within the context reaches the end of is none.
      for (int AttentionSpec::*span : {&AttentionSpec::window, &AttentionSpec::chunk}) {
        if (x->*span >= a.context_length && (y->*span == 0 || y->*span >= a.context_length)) x->*span = y->*span;
      }
    }
  } else if (auto* m = std::get_if<MlaSpec>(&a_mixer)) {
    if (const auto* y = std::get_if<MlaSpec>(&b_mixer)) {
      take_rotation(m->rope, a, y->rope, b);
      take(m->scale, y->scale);
      take(m->norm_eps, y->norm_eps);
    }
  }
}

std::string block_difference(BlockSpec x, const ModelConfig& a, const BlockSpec& y, const ModelConfig& b) {
  take_mixer(x.mixer, a, y.mixer, b);
  if (x.mixer != y.mixer) return "attention";
  if (x.dense != y.dense || x.routed != y.routed) return x.routed ? "experts" : "dense feed-forward";
  if (x.dense && x.ffn != y.ffn) return "activation";
  if (x.routed) {
    if (!same_router(x.moe.router, y.moe.router)) return "router";
    x.moe.router = y.moe.router;
    if (x.moe != y.moe) return x.moe.activation != y.moe.activation ? "activation" : "experts";
  }
  x.ffn = y.ffn, x.moe = y.moe;
  return x == y ? "" : "norms";
}

}  // namespace

std::string first_difference(const ModelConfig& a, const ModelConfig& b) {
  if (a.blocks.size() != b.blocks.size()) return "number of blocks";
  for (std::size_t i = 0; i < a.blocks.size(); ++i) {
    const std::string difference = block_difference(a.blocks[i], a, b.blocks[i], b);
    if (!difference.empty()) return "block " + std::to_string(i) + ": " + difference;
  }
  ModelConfig rest = a;
  rest.blocks = b.blocks;
  rest.ropes = b.ropes;
  rest.architecture = b.architecture;
  rest.context_length = b.context_length;
  rest.norm_plus_one = b.norm_plus_one;
  rest.tied_embeddings = b.tied_embeddings;
  for (float ModelConfig::*number :
       {&ModelConfig::norm_eps, &ModelConfig::output_norm_eps, &ModelConfig::embedding_multiplier,
        &ModelConfig::residual_multiplier, &ModelConfig::logit_multiplier, &ModelConfig::logit_softcap}) {
    take(rest.*number, b.*number);
  }
  return rest == b ? "" : "norms or multipliers";
}

}  // namespace junto
