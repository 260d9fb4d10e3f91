#include "kernels/matmul_kernels.h"

namespace junto {

#if defined(__x86_64__)
// One file each: matmul_<type>_<isa>.cc.
extern const MatmulKernel kMatmulF32Avx2;
extern const MatmulKernel kMatmulF16Avx2;
extern const MatmulKernel kMatmulBF16Avx2;
extern const MatmulKernel kMatmulQ4_0Avx2;
extern const MatmulKernel kMatmulQ4_1Avx2;
extern const MatmulKernel kMatmulQ5_0Avx2;
extern const MatmulKernel kMatmulQ5_1Avx2;
extern const MatmulKernel kMatmulQ8_0Avx2;
extern const MatmulKernel kMatmulIQ4_NLAvx2;
extern const MatmulKernel kMatmulMXFP4Avx2;
extern const MatmulKernel kMatmulQ2_KAvx2;
extern const MatmulKernel kMatmulQ3_KAvx2;
extern const MatmulKernel kMatmulQ4_KAvx2;
extern const MatmulKernel kMatmulQ5_KAvx2;
extern const MatmulKernel kMatmulQ6_KAvx2;
extern const MatmulKernel kMatmulIQ4_XSAvx2;

extern const MatmulKernel kMatmulF32Avx512;
extern const MatmulKernel kMatmulF16Avx512;
extern const MatmulKernel kMatmulBF16Avx512;
extern const MatmulKernel kMatmulQ4_0Avx512;
extern const MatmulKernel kMatmulQ4_1Avx512;
extern const MatmulKernel kMatmulQ5_0Avx512;
extern const MatmulKernel kMatmulQ5_1Avx512;
extern const MatmulKernel kMatmulQ8_0Avx512;
extern const MatmulKernel kMatmulIQ4_NLAvx512;
extern const MatmulKernel kMatmulMXFP4Avx512;
extern const MatmulKernel kMatmulQ2_KAvx512;
extern const MatmulKernel kMatmulQ3_KAvx512;
extern const MatmulKernel kMatmulQ4_KAvx512;
extern const MatmulKernel kMatmulQ5_KAvx512;
extern const MatmulKernel kMatmulQ6_KAvx512;
extern const MatmulKernel kMatmulIQ4_XSAvx512;
#elif defined(__aarch64__)
extern const MatmulKernel kMatmulF32Neon;
extern const MatmulKernel kMatmulF16Neon;
extern const MatmulKernel kMatmulBF16Neon;
extern const MatmulKernel kMatmulQ4_0Neon;
extern const MatmulKernel kMatmulQ4_1Neon;
extern const MatmulKernel kMatmulQ5_0Neon;
extern const MatmulKernel kMatmulQ5_1Neon;
extern const MatmulKernel kMatmulQ8_0Neon;
extern const MatmulKernel kMatmulIQ4_NLNeon;
extern const MatmulKernel kMatmulMXFP4Neon;
extern const MatmulKernel kMatmulQ2_KNeon;
extern const MatmulKernel kMatmulQ3_KNeon;
extern const MatmulKernel kMatmulQ4_KNeon;
extern const MatmulKernel kMatmulQ5_KNeon;
extern const MatmulKernel kMatmulQ6_KNeon;
extern const MatmulKernel kMatmulIQ4_XSNeon;
#endif

namespace {

#if defined(__x86_64__)
constexpr const MatmulKernel* kAvx2[] = {
    &kMatmulF32Avx2,  &kMatmulF16Avx2,  &kMatmulBF16Avx2,   &kMatmulQ4_0Avx2,   &kMatmulQ4_1Avx2, &kMatmulQ5_0Avx2,
    &kMatmulQ5_1Avx2, &kMatmulQ8_0Avx2, &kMatmulIQ4_NLAvx2, &kMatmulMXFP4Avx2,  &kMatmulQ2_KAvx2, &kMatmulQ3_KAvx2,
    &kMatmulQ4_KAvx2, &kMatmulQ5_KAvx2, &kMatmulQ6_KAvx2,   &kMatmulIQ4_XSAvx2,
};

constexpr const MatmulKernel* kAvx512[] = {
    &kMatmulF32Avx512,    &kMatmulF16Avx512,   &kMatmulBF16Avx512, &kMatmulQ4_0Avx512,
    &kMatmulQ4_1Avx512,   &kMatmulQ5_0Avx512,  &kMatmulQ5_1Avx512, &kMatmulQ8_0Avx512,
    &kMatmulIQ4_NLAvx512, &kMatmulMXFP4Avx512, &kMatmulQ2_KAvx512, &kMatmulQ3_KAvx512,
    &kMatmulQ4_KAvx512,   &kMatmulQ5_KAvx512,  &kMatmulQ6_KAvx512, &kMatmulIQ4_XSAvx512,
};
#elif defined(__aarch64__)
constexpr const MatmulKernel* kNeon[] = {
    &kMatmulF32Neon,  &kMatmulF16Neon,  &kMatmulBF16Neon,   &kMatmulQ4_0Neon,   &kMatmulQ4_1Neon, &kMatmulQ5_0Neon,
    &kMatmulQ5_1Neon, &kMatmulQ8_0Neon, &kMatmulIQ4_NLNeon, &kMatmulMXFP4Neon,  &kMatmulQ2_KNeon, &kMatmulQ3_KNeon,
    &kMatmulQ4_KNeon, &kMatmulQ5_KNeon, &kMatmulQ6_KNeon,   &kMatmulIQ4_XSNeon,
};
#endif

}  // namespace

std::span<const MatmulKernel* const> matmul_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kAvx512;
  if (isa == Isa::kAvx2) return kAvx2;
#elif defined(__aarch64__)
  if (isa == Isa::kNeon) return kNeon;
#endif
  static_cast<void>(isa);
  return {};
}

const MatmulKernel* find_kernel(std::span<const MatmulKernel* const> kernels, DType type) {
  for (const MatmulKernel* kernel : kernels) {
    if (kernel->type == type) return kernel;
  }
  return nullptr;
}

}  // namespace junto
