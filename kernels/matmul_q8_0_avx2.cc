#include "kernels/columns_tile.h"
#include "kernels/lanes_avx2.h"
#include "kernels/tile_lanes_avx2.h"

namespace junto {

extern const MatmulKernel kMatmulQ8_0Avx2;
constinit const MatmulKernel kMatmulQ8_0Avx2 = make_q8_0_kernels<TileAvx2, LanesAvx2>();

}  // namespace junto
