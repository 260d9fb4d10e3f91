#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ2_KAvx512;
constinit const MatmulKernel kMatmulQ2_KAvx512 = make_q8_kernel<TileAvx512, UnitsQ2_K>(DType::kQ2_K);

}  // namespace junto
