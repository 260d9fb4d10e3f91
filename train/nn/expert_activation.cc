#include "train/nn/expert_activation.h"

#include <algorithm>
#include <cmath>

#include "train/nn/swiglu.h"

namespace junto {
namespace {

struct Silu {
  template <class T>
  static T value(T x) {
    return x / (T(1) + std::exp(-x));
  }
  template <class T>
  static T slope(T x) {
    const T sigmoid = T(1) / (T(1) + std::exp(-x));
    return sigmoid * (T(1) + x * (T(1) - sigmoid));
  }
};

/// Hendrycks and Gimelshein, arXiv 1606.08415: the tanh form.
struct GeluTanh {
  static constexpr double kScale = 0.7978845608028654, kCubic = 0.044715;  // sqrt(2 / pi)
  template <class T>
  static T value(T x) {
    return T(0.5) * x * (T(1) + std::tanh(T(kScale) * (x + T(kCubic) * x * x * x)));
  }
  template <class T>
  static T slope(T x) {
    const T tanh = std::tanh(T(kScale) * (x + T(kCubic) * x * x * x));
    return T(0.5) * (T(1) + tanh) + T(0.5) * x * (T(1) - tanh * tanh) * T(kScale) * (T(1) + T(3 * kCubic) * x * x);
  }
};

struct GeluErf {
  static constexpr double kRootHalf = 0.7071067811865476, kDensity = 0.3989422804014327;  // 1 / sqrt(2 pi)
  template <class T>
  static T value(T x) {
    return T(0.5) * x * (T(1) + std::erf(x * T(kRootHalf)));
  }
  template <class T>
  static T slope(T x) {
    return T(0.5) * (T(1) + std::erf(x * T(kRootHalf))) + x * T(kDensity) * std::exp(T(-0.5) * x * x);
  }
};

struct Relu {
  template <class T>
  static T value(T x) {
    return std::max(x, T(0));
  }
  template <class T>
  static T slope(T x) {
    return x > T(0) ? T(1) : T(0);
  }
};

struct ReluSquared {
  template <class T>
  static T value(T x) {
    return std::max(x, T(0)) * std::max(x, T(0));
  }
  template <class T>
  static T slope(T x) {
    return T(2) * std::max(x, T(0));
  }
};

struct Identity {
  template <class T>
  static T value(T x) {
    return x;
  }
  template <class T>
  static T slope(T) {
    return T(1);
  }
};

template <class F, class T>
void forward_rows(bool gated, const T* projected, const T* weight, std::int64_t rows, std::int64_t width, T* hidden) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* first = projected + row * (gated ? 2 * width : width);
    T* out = hidden + row * width;
    for (std::int64_t h = 0; h < width; ++h) out[h] = weight[row] * F::value(first[h]);
    if (!gated) continue;
    for (std::int64_t h = 0; h < width; ++h) out[h] *= first[width + h];
  }
}

template <class F, class T>
void backward_rows(bool gated, const T* projected, const T* weight, const T* d_hidden, std::int64_t rows,
                   std::int64_t width, T* d_projected, T* d_weight) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t columns = gated ? 2 * width : width;
    const T* first = projected + row * columns;
    const T* d = d_hidden + row * width;
    T* d_first = d_projected + row * columns;
    T sum = T(0);
    for (std::int64_t h = 0; h < width; ++h) {
      const T value = F::value(first[h]), scaled = weight[row] * d[h];
      const T up = gated ? first[width + h] : T(1);
      sum += value * up * d[h];
      d_first[h] = scaled * up * F::slope(first[h]);
      if (gated) d_first[width + h] = scaled * value;
    }
    d_weight[row] = sum;
  }
}

/// body(F()) for the function of `kind`.
template <class Body>
void with_function(ActivationKind kind, const Body& body) {
  switch (kind) {
    case ActivationKind::kSilu:
    case ActivationKind::kSwigluOai:
      return body(Silu());
    case ActivationKind::kGeluTanh:
      return body(GeluTanh());
    case ActivationKind::kGeluErf:
      return body(GeluErf());
    case ActivationKind::kRelu:
      return body(Relu());
    case ActivationKind::kReluSquared:
      return body(ReluSquared());
    case ActivationKind::kIdentity:
      return body(Identity());
  }
}

bool is_swiglu(const Activation& activation) {
  return activation.gated && activation.kind == ActivationKind::kSilu;
}

}  // namespace

template <class T>
void weighted_activation(const Activation& activation, const T* projected, const T* weight, std::int64_t rows,
                         std::int64_t width, T* hidden) {
  if (is_swiglu(activation)) return weighted_swiglu(projected, weight, rows, width, hidden);
  with_function(activation.kind,
                [&](auto f) { forward_rows<decltype(f)>(activation.gated, projected, weight, rows, width, hidden); });
}

template <class T>
void weighted_activation_backward(const Activation& activation, const T* projected, const T* weight, const T* d_hidden,
                                  std::int64_t rows, std::int64_t width, T* d_projected, T* d_weight) {
  if (is_swiglu(activation)) {
    return weighted_swiglu_backward(projected, weight, d_hidden, rows, width, d_projected, d_weight);
  }
  with_function(activation.kind, [&](auto f) {
    backward_rows<decltype(f)>(activation.gated, projected, weight, d_hidden, rows, width, d_projected, d_weight);
  });
}

template void weighted_activation(const Activation&, const float*, const float*, std::int64_t, std::int64_t, float*);
template void weighted_activation(const Activation&, const double*, const double*, std::int64_t, std::int64_t, double*);
template void weighted_activation_backward(const Activation&, const float*, const float*, const float*, std::int64_t,
                                           std::int64_t, float*, float*);
template void weighted_activation_backward(const Activation&, const double*, const double*, const double*, std::int64_t,
                                           std::int64_t, double*, double*);

}  // namespace junto
