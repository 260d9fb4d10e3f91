#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ4_KAvx512;
constinit const MatmulKernel kMatmulQ4_KAvx512 = make_q8_kernel<TileAvx512, UnitsQ4_K>(DType::kQ4_K);

}  // namespace junto
