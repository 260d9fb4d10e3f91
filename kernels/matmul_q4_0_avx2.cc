#include "kernels/columns_tile.h"
#include "kernels/lanes_avx2.h"
#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"

namespace junto {

extern const MatmulKernel kMatmulQ4_0Avx2;
constinit const MatmulKernel kMatmulQ4_0Avx2 =
    with_columns<TileAvx2, LanesAvx2, UnitsQ4_0>(make_q8_pairs_kernel<TileAvx2, UnitsQ4_0>(DType::kQ4_0));

}  // namespace junto
