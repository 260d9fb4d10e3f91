#include "kernels/columns_tile.h"
#include "kernels/lanes_avx2.h"
#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"

namespace junto {

extern const MatmulKernel kMatmulQ5_0Avx2;
constinit const MatmulKernel kMatmulQ5_0Avx2 =
    with_columns<TileAvx2, LanesAvx2, UnitsQ5_0>(make_q8_pairs_kernel<TileAvx2, UnitsQ5_0>(DType::kQ5_0));

}  // namespace junto
