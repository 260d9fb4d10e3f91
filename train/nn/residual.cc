#include "train/nn/residual.h"

#include <ATen/ATen.h>

namespace junto {
namespace {

/// keep * old + take * added, where an undefined `old` is zero.
at::Tensor mixed(const at::Tensor& old, double keep, const at::Tensor& added, double take) {
  const at::Tensor fresh = added * take;
  return old.defined() ? old * keep + fresh : fresh;
}

at::Tensor join(const AddResidual& rule, const at::Tensor& x, const at::Tensor& f, const at::Tensor&,
                ResidualMoments&) {
  return rule.factor == 1.0f ? x + f : x + f * static_cast<double>(rule.factor);
}

at::Tensor join(const HeavyBall& rule, const at::Tensor& x, const at::Tensor& f, const at::Tensor&,
                ResidualMoments& moments) {
  moments.m = mixed(moments.m, rule.mu, f, rule.gamma);
  return x + moments.m;
}

at::Tensor join(const AdamLike& rule, const at::Tensor& x, const at::Tensor& f, const at::Tensor&,
                ResidualMoments& moments) {
  moments.m = mixed(moments.m, rule.mu, f, rule.momentum_gamma);
  moments.p = mixed(moments.p, rule.beta1, f, static_cast<double>(1.0f - rule.beta1));
  moments.v = mixed(moments.v, rule.beta2, f * f, static_cast<double>(1.0f - rule.beta2));
  const at::Tensor step = moments.p * at::rsqrt(moments.v + static_cast<double>(rule.eps));
  const at::Tensor kept = rule.decay == 0.0f ? x : x * static_cast<double>(1.0f - rule.decay);
  return kept + step * static_cast<double>(rule.gamma);
}

at::Tensor join(const Restart&, const at::Tensor&, const at::Tensor& f, const at::Tensor& read, ResidualMoments&) {
  return read + f;
}

}  // namespace

at::Tensor join_residual(const ResidualRule& rule, const at::Tensor& x, const at::Tensor& f, const at::Tensor& read,
                         ResidualMoments& moments) {
  return std::visit([&](const auto& r) { return join(r, x, f, read, moments); }, rule);
}

at::Tensor look_ahead(const ResidualRule& rule, const at::Tensor& x, const ResidualMoments& moments) {
  const auto* ball = std::get_if<HeavyBall>(&rule);
  if (ball == nullptr || ball->look_ahead == 0.0f || !moments.m.defined()) return x;
  return x + moments.m * static_cast<double>(ball->look_ahead);
}

}  // namespace junto
