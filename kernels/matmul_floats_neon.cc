#include "kernels/tile_lanes_neon.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulF32Neon;
extern const MatmulKernel kMatmulF16Neon;
extern const MatmulKernel kMatmulBF16Neon;
constinit const MatmulKernel kMatmulF32Neon = make_float_kernel<TileNeon, LoadF32>(DType::kF32);
constinit const MatmulKernel kMatmulF16Neon = make_float_kernel<TileNeon, LoadF16>(DType::kF16);
constinit const MatmulKernel kMatmulBF16Neon = make_float_kernel<TileNeon, LoadBF16>(DType::kBF16);

}  // namespace junto
