#include "kernels/columns_tile.h"
#include "kernels/lanes_neon.h"
#include "kernels/tile_lanes_neon.h"

namespace junto {

extern const MatmulKernel kMatmulQ8_0Neon;
constinit const MatmulKernel kMatmulQ8_0Neon =
    with_columns<TileNeon, LanesNeon, UnitsQ8_0>(make_q8_kernel<TileNeon, UnitsQ8_0>(DType::kQ8_0));

}  // namespace junto
