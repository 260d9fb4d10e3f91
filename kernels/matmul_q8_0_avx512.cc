#include "kernels/columns_tile.h"
#include "kernels/lanes_avx512.h"
#include "kernels/tile_lanes_avx512.h"

namespace junto {

extern const MatmulKernel kMatmulQ8_0Avx512;
constinit const MatmulKernel kMatmulQ8_0Avx512 =
    with_columns<TileAvx512, LanesAvx512, UnitsQ8_0>(make_q8_kernel<TileAvx512, UnitsQ8_0>(DType::kQ8_0));

}  // namespace junto
