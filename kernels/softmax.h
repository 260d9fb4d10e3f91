// Softmax of one row.
#pragma once

#include <span>

namespace junto {

/// x[i] = exp(x[i] - shift); returns their sum, in lanes (i mod 16).
float exp_in_place(std::span<float> x, float shift);

/// Softmax in place, the largest value subtracted first. Minus infinity gets 0; a row of nothing else becomes NaN.
void softmax(std::span<float> x);

}  // namespace junto
