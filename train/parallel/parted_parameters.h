// Parameters of which ranks hold different experts: their gradients summed, and their arrays gathered, handed out and
// moved from one placement to another. All of an expert's matrices, moments and averages move alike: as rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "train/nn/parameters.h"
#include "train/parallel/expert_share.h"

namespace junto {

/// How a flat array as Parameters::values() lies where the experts `own` are held.
struct FlatLayout {
  struct Part {
    std::int64_t offset = 0, rows = 0, row_size = 0;
    bool parted = false;  // a row of each expert in `own`; else the same on all ranks
  };
  std::vector<Part> parts;  // as Parameters::all()
  std::int64_t size = 0;
};
/// Of the same parameters wherever: `own` of the whole are all experts.
FlatLayout flat_layout(const Parameters& parameters, std::int64_t own);

/// `flat` of a rank under `from` as it lies under `to`, rows of experts that it does not hold brought from those who
/// do. Every rank calls it. A placement may leave a rank without experts.
at::Tensor moved_flat(const at::Tensor& flat, const Parameters& parameters, const ExpertShare& from,
                      const ExpertShare& to);
/// All of it on rank 0; elsewhere what is not parted.
at::Tensor gathered_flat(const at::Tensor& flat, const Parameters& parameters, const ExpertShare& share);
/// This rank's part of `whole`, which has all experts. `parameters` are this rank's.
at::Tensor part_of_flat(const at::Tensor& whole, const Parameters& parameters, const ExpertShare& share);

/// Gradients of all ranks: of experts the sum over those that hold them, of all else the sum over all, in the order of
/// ranks, both times `factor`.
void sum_parted_gradients(Parameters& parameters, const ExpertShare& share, float factor);
/// The Euclidean norm of all ranks' gradients, every expert counted once, summed in double; the same on all ranks.
double parted_gradient_norm(const Parameters& parameters, const ExpertShare& share);

}  // namespace junto
