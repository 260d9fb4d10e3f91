// The matrix kernels over the portable page of tile lanes: what every instruction set must equal to the bit. For tests.
#pragma once

#include "kernels/columns_tile.h"
#include "kernels/lanes_portable.h"
#include "kernels/tile_lanes_portable.h"
#include "kernels/units_k.h"

namespace junto {

inline constexpr MatmulKernel kMatmulTwin[] = {
    make_float_kernel<TilePortable, LoadF32>(DType::kF32),
    make_float_kernel<TilePortable, LoadF16>(DType::kF16),
    make_float_kernel<TilePortable, LoadBF16>(DType::kBF16),
    with_columns<TilePortable, LanesTwin, UnitsQ4_0>(make_q8_kernel<TilePortable, UnitsQ4_0>(DType::kQ4_0)),
    make_q8_kernel<TilePortable, UnitsQ4_1>(DType::kQ4_1),
    with_columns<TilePortable, LanesTwin, UnitsQ5_0>(make_q8_kernel<TilePortable, UnitsQ5_0>(DType::kQ5_0)),
    make_q8_kernel<TilePortable, UnitsQ5_1>(DType::kQ5_1),
    with_columns<TilePortable, LanesTwin, UnitsQ8_0>(make_q8_kernel<TilePortable, UnitsQ8_0>(DType::kQ8_0)),
    make_q8_kernel<TilePortable, UnitsIQ4_NL>(DType::kIQ4_NL),
    make_q8_kernel<TilePortable, UnitsMXFP4>(DType::kMXFP4),
    make_q8_kernel<TilePortable, UnitsQ2_K>(DType::kQ2_K),
    make_q8_kernel<TilePortable, UnitsQ3_K>(DType::kQ3_K),
    make_q8_kernel<TilePortable, UnitsQ4_K>(DType::kQ4_K),
    make_q8_kernel<TilePortable, UnitsQ5_K>(DType::kQ5_K),
    make_q8_kernel<TilePortable, UnitsQ6_K>(DType::kQ6_K),
    make_q8_kernel<TilePortable, UnitsIQ4_XS>(DType::kIQ4_XS),
};

}  // namespace junto
