#include "kernels/row_kernels.h"

#include "kernels/lanes_portable.h"
#include "kernels/row_kernels_lanes.h"

namespace junto {

#if defined(__x86_64__)
extern const RowKernels kRowKernelsAvx2;    // row_kernels_avx2.cc
extern const RowKernels kRowKernelsAvx512;  // row_kernels_avx512.cc
#elif defined(__aarch64__)
extern const RowKernels kRowKernelsNeon;  // row_kernels_neon.cc
#endif

namespace {

constinit const RowKernels kPortable = make_row_kernels<LanesPlain>();
constinit const RowKernels kTwin = make_row_kernels<LanesTwin>();

}  // namespace

const RowKernels& row_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kRowKernelsAvx512;
  if (isa == Isa::kAvx2) return kRowKernelsAvx2;
#elif defined(__aarch64__)
  if (isa == Isa::kNeon) return kRowKernelsNeon;
#endif
  return kPortable;
}

const RowKernels& row_kernels() {
  static const RowKernels& kernels = row_kernels(chosen_isa());
  return kernels;
}

const RowKernels& row_kernels_twin() {
  return kTwin;
}

}  // namespace junto
