// The layouts of interleaved units: one row per type.
#pragma once

#include <iterator>

#include "kernels/interleave.h"

namespace junto {

inline constexpr SmallField kD[] = {{0, 2, 1}};
inline constexpr SmallField kDM[] = {{0, 2, 1}, {2, 2, 1}};
inline constexpr SmallField kE[] = {{0, 1, 1}};
inline constexpr SmallField kK4[] = {{0, 2, 1}, {2, 2, 1}, {4, 1, 12}};  // d, dmin, scales and mins of Q4_K and Q5_K
inline constexpr SmallField kScalesQ2_K[] = {{80, 2, 1}, {82, 2, 1}, {0, 1, 16}};
inline constexpr SmallField kScalesQ3_K[] = {{108, 2, 1}, {96, 1, 12}};
inline constexpr SmallField kScalesQ6_K[] = {{208, 2, 1}, {192, 1, 16}};
inline constexpr SmallField kScalesIQ4_XS[] = {{0, 2, 1}, {2, 2, 1}, {4, 1, 4}};

inline constexpr QuantPiece kQ4_0[] = {{2, 4, 16}};  // and IQ4_NL
inline constexpr QuantPiece kQ4_1[] = {{4, 4, 16}};
inline constexpr QuantPiece kQ5_0[] = {{2, 1, 1}, {6, 4, 16}};
inline constexpr QuantPiece kQ5_1[] = {{4, 1, 1}, {8, 4, 16}};
inline constexpr QuantPiece kQ8_0[] = {{2, 8, 32}};
inline constexpr QuantPiece kMXFP4[] = {{1, 4, 16}};
inline constexpr QuantPiece kQ2_K[] = {{16, 2, 32}};
inline constexpr QuantPiece kQ3_K[] = {{0, 1, 32}, {32, 2, 32}};
inline constexpr QuantPiece kQ4_K[] = {{16, 4, 32}};
inline constexpr QuantPiece kQ5_K[] = {{16, 1, 32}, {48, 4, 32}};
inline constexpr QuantPiece kQ6_K[] = {{128, 2, 32}, {0, 4, 64}};
inline constexpr QuantPiece kIQ4_XS[] = {{8, 4, 16}};

inline constexpr UnitLayout kLayouts[] = {
    {DType::kF32, 1, 64, 4, 1, {}, {}},
    {DType::kF16, 1, 32, 2, 1, {}, {}},
    {DType::kBF16, 1, 32, 2, 1, {}, {}},
    {DType::kQ4_0, 2, 576, 18, 32, kD, kQ4_0},
    {DType::kIQ4_NL, 2, 576, 18, 32, kD, kQ4_0},
    {DType::kQ4_1, 1, 320, 20, 32, kDM, kQ4_1},
    {DType::kQ5_0, 2, 704, 22, 32, kD, kQ5_0},
    {DType::kQ5_1, 1, 384, 24, 32, kDM, kQ5_1},
    {DType::kQ8_0, 2, 1088, 34, 32, kD, kQ8_0},
    {DType::kMXFP4, 4, 1088, 17, 32, kE, kMXFP4},
    {DType::kQ2_K, 1, 1344, 84, 256, kScalesQ2_K, kQ2_K},
    {DType::kQ3_K, 1, 1792, 110, 256, kScalesQ3_K, kQ3_K},
    {DType::kQ4_K, 1, 2304, 144, 256, kK4, kQ4_K},
    {DType::kQ5_K, 1, 2816, 176, 256, kK4, kQ5_K},
    {DType::kQ6_K, 1, 3392, 210, 256, kScalesQ6_K, kQ6_K},
    {DType::kIQ4_XS, 1, 2176, 136, 256, kScalesIQ4_XS, kIQ4_XS},
};

inline constexpr std::size_t kLayoutCount = std::size(kLayouts);

}  // namespace junto
