#include "kernels/columns_tile.h"
#include "kernels/lanes_avx512.h"
#include "kernels/tile_lanes_avx512.h"

namespace junto {

extern const MatmulKernel kMatmulQ8_0Avx512;
constinit const MatmulKernel kMatmulQ8_0Avx512 = make_q8_0_kernels<TileAvx512, LanesAvx512>();

}  // namespace junto
