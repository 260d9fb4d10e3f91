#include "train/parallel/total_of_ranks.h"

#include <ATen/ATen.h>

namespace junto {

void sum_over_ranks(Exchange& exchange, at::Tensor& values) {
  TORCH_CHECK(values.is_contiguous() && (values.scalar_type() == at::kFloat || values.scalar_type() == at::kDouble),
              "sum_over_ranks: values are ", values.toString(), ", expected float32 or float64 in one piece");
  const auto size = static_cast<std::size_t>(values.numel());
  if (values.scalar_type() == at::kFloat) {
    sum_over_ranks(exchange, std::span<float>(values.data_ptr<float>(), size));
  } else {
    sum_over_ranks(exchange, std::span<double>(values.data_ptr<double>(), size));
  }
}

at::Tensor total_of_ranks(Exchange* ranks, const at::Tensor& local) {
  if (ranks == nullptr || ranks->alone()) return local;
  at::Tensor sum = local.detach().to(at::kDouble).contiguous().clone();
  sum_over_ranks(*ranks, sum);
  const double count = ranks->ranks();
  // The value of the first term cancels, its gradient stays.
  const at::Tensor scaled = local * count;
  return scaled + (sum.to(local.scalar_type()) - scaled.detach());
}

}  // namespace junto
