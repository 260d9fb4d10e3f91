#include "kernels/interleave_steps.h"

namespace junto {

struct InterleaveAvx2 {};

extern const InterleaveTable kInterleaveAvx2;
constinit const InterleaveTable kInterleaveAvx2 = InterleaveSteps<InterleaveAvx2>::table();

}  // namespace junto
