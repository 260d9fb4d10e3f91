#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ6_KAvx512;
constinit const MatmulKernel kMatmulQ6_KAvx512 = make_q8_kernel<TileAvx512, UnitsQ6_K>(DType::kQ6_K);

}  // namespace junto
