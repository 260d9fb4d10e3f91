#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulIQ4_XSAvx512;
constinit const MatmulKernel kMatmulIQ4_XSAvx512 = make_q8_kernel<TileAvx512, UnitsIQ4_XS>(DType::kIQ4_XS);

}  // namespace junto
