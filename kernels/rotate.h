// Rotary position embedding of one head's vector.
#pragma once

#include <span>

namespace junto {

/// Rotates x[i] with x[i + dims / 2] by the i-th angle (NeoX). cosines and sines hold dims / 2 values; values beyond
/// dims stay.
void rotate_halves(std::span<float> x, std::span<const float> cosines, std::span<const float> sines);

/// Rotates x[2 i] with x[2 i + 1] by the i-th angle (GPT-J).
void rotate_neighbours(std::span<float> x, std::span<const float> cosines, std::span<const float> sines);

}  // namespace junto
