// The engine's residual rules (moe/residual.h) on tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include "moe/residual.h"

namespace junto {

/// What travels from layer to layer within one forward pass, [rows, D]; undefined is zero.
struct ResidualMoments {
  at::Tensor m, p, v;
};

/// What x [rows, D] becomes when it takes f [rows, D]. `read` [rows, D] is what the layer read, for Restart.
at::Tensor join_residual(const ResidualRule& rule, const at::Tensor& x, const at::Tensor& f, const at::Tensor& read,
                         ResidualMoments& moments);

/// What a layer of this rule reads in the place of x.
at::Tensor look_ahead(const ResidualRule& rule, const at::Tensor& x, const ResidualMoments& moments);

}  // namespace junto
