// exp and its relatives over lanes (lanes_portable.h). A lane's result depends on its argument alone, so a value has
// the same bits wherever it stands in a row. Coefficients: least maximal relative error, fitted for these forms.
#pragma once

namespace junto {

/// e^x within 2 units in the last place; 0 below -104, infinity above 88.8.
template <class L>
inline typename L::F exp_lanes(typename L::F x) {
  using F = typename L::F;
  x = L::min(L::set(89.0f), L::max(L::set(-105.0f), x));  // NaN passes: it is the second argument
  const F n = L::round(L::mul(x, L::set(1.44269504f)));
  // r = x - n ln 2, ln 2 in two parts of which the first times n is exact.
  F r = L::fnma(n, L::set(0.693145752f), x);
  r = L::fnma(n, L::set(1.42860677e-6f), r);
  F p = L::set(0.00138131400f);
  p = L::fma(p, r, L::set(0.00836941932f));
  p = L::fma(p, r, L::set(0.0416684569f));
  p = L::fma(p, r, L::set(0.166665148f));
  p = L::fma(p, r, L::set(0.499999931f));
  p = L::fma(L::mul(p, r), r, r);
  return L::scale_by_power(L::add(p, L::set(1.0f)), n);
}

template <class L>
inline typename L::F sigmoid_lanes(typename L::F x) {
  return L::div(L::set(1.0f), L::add(L::set(1.0f), exp_lanes<L>(L::sub(L::zero(), x))));
}

template <class L>
inline typename L::F tanh_lanes(typename L::F x) {
  using F = typename L::F;
  const F size = L::abs(x);
  // Small: x + x^3 P(x^2), where 1 - 2 / (e^2x + 1) would cancel.
  const F square = L::mul(x, x);
  F p = L::set(-0.00566076887f);
  p = L::fma(p, square, L::set(0.0206019875f));
  p = L::fma(p, square, L::set(-0.0537292230f));
  p = L::fma(p, square, L::set(0.133313289f));
  p = L::fma(p, square, L::set(-0.333332783f));
  const F small = L::fma(L::mul(p, square), x, x);
  const F twice = exp_lanes<L>(L::add(size, size));
  const F large = L::sub(L::set(1.0f), L::div(L::set(2.0f), L::add(twice, L::set(1.0f))));
  return L::if_less(size, L::set(0.625f), small, L::copy_sign(large, x));
}

/// Distribution function of the normal distribution, within 2e-7.
template <class L>
inline typename L::F normal_cdf_lanes(typename L::F x) {
  using F = typename L::F;
  // erfc(z) = t e^(-z^2) Q(t) with t = 1 / (1 + z / 2), z = |x| / sqrt 2.
  const F z = L::mul(L::abs(x), L::set(0.707106781f));
  const F t = L::div(L::set(1.0f), L::fma(z, L::set(0.5f), L::set(1.0f)));
  F q = L::set(0.00657546222f);
  q = L::fma(q, t, L::set(-0.0921324688f));
  q = L::fma(q, t, L::set(0.355799550f));
  q = L::fma(q, t, L::set(-0.573156796f));
  q = L::fma(q, t, L::set(0.341873102f));
  q = L::fma(q, t, L::set(-0.0567275231f));
  q = L::fma(q, t, L::set(0.211685390f));
  q = L::fma(q, t, L::set(0.241462941f));
  q = L::fma(q, t, L::set(0.282540985f));
  q = L::fma(q, t, L::set(0.282079337f));
  const F tail = L::mul(L::mul(L::mul(L::set(0.5f), t), exp_lanes<L>(L::fnma(z, z, L::zero()))), q);
  return L::if_less(x, L::zero(), tail, L::sub(L::set(1.0f), tail));
}

}  // namespace junto
