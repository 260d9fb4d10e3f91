#include "cli/verify_tensors.h"

#include <atomic>
#include <cmath>

#include "base/progress.h"

namespace junto {
namespace {

BadTensor verify(const NamedTensor& named, ThreadPool& pool, Progress& progress) {
  const Tensor& tensor = named.tensor;
  std::atomic<std::int64_t> nan{0}, infinite{0};
  std::vector<std::vector<float>> rows(static_cast<std::size_t>(pool.threads()));
  pool.for_each_block(tensor.values() > 0 ? tensor.rows() : 0, [&](std::int64_t r, int worker) {
    std::vector<float>& row = rows[static_cast<std::size_t>(worker)];
    row.resize(static_cast<std::size_t>(tensor.cols()));
    decode_row(tensor, r, row);
    std::int64_t row_nan = 0, row_infinite = 0;
    for (const float x : row) {
      row_nan += std::isnan(x) ? 1 : 0;
      row_infinite += std::isinf(x) ? 1 : 0;
    }
    if (row_nan > 0) nan += row_nan;
    if (row_infinite > 0) infinite += row_infinite;
    progress.advance(tensor.row_bytes());
  });
  return {named.name, nan, infinite};
}

}  // namespace

Verification verify_tensors(const Checkpoint& checkpoint, ThreadPool& pool) {
  std::uint64_t bytes = 0;
  for (const NamedTensor& named : checkpoint.tensors()) bytes += named.tensor.bytes.size();
  Progress progress("verify", bytes, "B");
  Verification result;
  for (const NamedTensor& named : checkpoint.tensors()) {
    BadTensor one = verify(named, pool, progress);
    ++result.tensors;
    result.values += named.tensor.values();
    if (one.nan + one.infinite > 0) result.bad.push_back(std::move(one));
  }
  return result;
}

}  // namespace junto
