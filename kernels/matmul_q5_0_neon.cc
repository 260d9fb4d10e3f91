#include "kernels/columns_tile.h"
#include "kernels/lanes_neon.h"
#include "kernels/tile_lanes_neon.h"

namespace junto {

extern const MatmulKernel kMatmulQ5_0Neon;
constinit const MatmulKernel kMatmulQ5_0Neon =
    with_columns<TileNeon, LanesNeon, UnitsQ5_0>(make_q8_kernel<TileNeon, UnitsQ5_0>(DType::kQ5_0));

}  // namespace junto
