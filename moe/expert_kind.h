// What an expert computes, and what that costs.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/json.h"

namespace junto {

/// Zero, copy and constant experts do no matrix work: dispatch, caches and prefetch skip them (MoE++, arXiv
/// 2410.07348).
enum class ExpertKind : std::uint8_t {
  kFfn,       // gated or plain feed-forward network
  kZero,      // 0
  kCopy,      // its input
  kConstant,  // a stored vector [D], or a mixture of it and the input
};

/// True where the expert has weights to be read and multiplied.
constexpr bool has_weights(ExpertKind kind) {
  return kind == ExpertKind::kFfn;
}

/// kIdentity: with it a plain network is a product of two matrices, a LoRA expert.
enum class ActivationKind : std::uint8_t { kSilu, kGeluTanh, kGeluErf, kRelu, kReluSquared, kSwigluOai, kIdentity };

/// hidden = act(gate) * up where gated, act(up) where not.
/// kSwigluOai (gpt-oss), always gated: g = min(gate, limit), u = clamp(up, -limit, limit), hidden = (u + 1) * g *
/// sigmoid(alpha * g).
struct Activation {
  ActivationKind kind = ActivationKind::kSilu;
  bool gated = true;
  float limit = 0.0f;
  float alpha = 0.0f;

  bool operator==(const Activation&) const = default;
};

/// {"kind": "relu", "gated": false}; limit and alpha of swiglu_oai.
Json to_json(const Activation& activation);
/// Throws Error naming `where` and the field.
Activation parse_activation(const Json& json, std::string_view where);

}  // namespace junto
