#include "kernels/columns_tile.h"
#include "kernels/lanes_neon.h"
#include "kernels/tile_lanes_neon.h"

namespace junto {

extern const MatmulKernel kMatmulQ4_0Neon;
constinit const MatmulKernel kMatmulQ4_0Neon =
    with_columns<TileNeon, LanesNeon, UnitsQ4_0>(make_q8_kernel<TileNeon, UnitsQ4_0>(DType::kQ4_0));

}  // namespace junto
