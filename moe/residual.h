// How what an MoE layer computes joins the residual stream. A rule may carry moments from layer to layer: of one row
// within one forward pass, zero at its beginning, never across rows or calls.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

#include "base/json.h"

namespace junto {

/// x += factor * f.
struct AddResidual {
  float factor = 1.0f;
  bool operator==(const AddResidual&) const = default;
};
/// m = mu * m + gamma * f; x += m (MomentumSMoE, Teo and Nguyen, arXiv 2410.14574; released code subtracts m, which
/// is a negative gamma). The layer reads x + look_ahead * m of the layers before: not 0 in robust momentum, where, by
/// rho, L and kappa, gamma = kappa (1 - rho)^2 (1 + rho) / L, mu = kappa rho^3 / (kappa - 1) and
/// look_ahead = rho^3 / ((kappa - 1) (1 - rho)^2 (1 + rho)).
struct HeavyBall {
  float mu = 0.7f;
  float gamma = 1.0f;
  float look_ahead = 0.0f;
  bool operator==(const HeavyBall&) const = default;
};
/// p = beta1 * p + (1 - beta1) * f; v = beta2 * v + (1 - beta2) * f^2; x = (1 - decay) * x + gamma * p / sqrt(v + eps);
/// and m = mu * m + momentum_gamma * f for layers of heavy ball above. AdamSMoE has it in the first layer, the heavy
/// ball in the others; its code decays by 1, so that x goes (and subtracts: a negative gamma).
struct AdamLike {
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float gamma = 1.0f;
  float eps = 1e-8f;
  float decay = 0.0f;
  float mu = 0.7f;
  float momentum_gamma = 1.0f;
  bool operator==(const AdamLike&) const = default;
};
/// x = what the layer read (after its norm) + f: the stream begins anew (the code of Chain-of-Experts, arXiv
/// 2506.18945).
struct Restart {
  bool operator==(const Restart&) const = default;
};
using ResidualRule = std::variant<AddResidual, HeavyBall, AdamLike, Restart>;

/// Whether the rule keeps moments.
bool carries_moments(const ResidualRule& rule);

/// Moments of one row, each [D]; empty spans where the rule keeps none.
struct Moments {
  std::span<float> m, p, v;
};

/// x [D] takes f [D]. `read` [D] is what the layer read, for Restart.
void join_residual(const ResidualRule& rule, std::span<const float> f, std::span<const float> read,
                   const Moments& moments, std::span<float> x);

/// {"rule": "heavy_ball", "mu": 0.7, ...}.
Json to_json(const ResidualRule& rule);
/// Throws Error naming `where`, an unknown rule or key and the nearest valid one, or a value out of range.
ResidualRule parse_residual_rule(const Json& json, std::string_view where);

}  // namespace junto
