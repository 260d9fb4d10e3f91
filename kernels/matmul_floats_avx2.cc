#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulF32Avx2;
extern const MatmulKernel kMatmulF16Avx2;
extern const MatmulKernel kMatmulBF16Avx2;
constinit const MatmulKernel kMatmulF32Avx2 = make_float_kernel<TileAvx2, LoadF32>(DType::kF32);
constinit const MatmulKernel kMatmulF16Avx2 = make_float_kernel<TileAvx2, LoadF16>(DType::kF16);
constinit const MatmulKernel kMatmulBF16Avx2 = make_float_kernel<TileAvx2, LoadBF16>(DType::kBF16);

}  // namespace junto
