#include "kernels/columns_tile.h"
#include "kernels/lanes_neon.h"
#include "kernels/tile_lanes_neon.h"

namespace junto {

extern const MatmulKernel kMatmulQ8_0Neon;
constinit const MatmulKernel kMatmulQ8_0Neon = make_q8_0_kernels<TileNeon, LanesNeon>();

}  // namespace junto
