#include "compress/encode_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "base/error.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

// Encoded bytes that are handed on at once: large enough to keep all threads busy, small beside any memory.
constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

struct Job {
  std::string name;
  DType type;
  RowSource source;
  ThreadPool& pool;
};

void pass_bytes(const Tensor& part, const ByteSink& sink) {
  for (std::size_t at = 0; at < part.bytes.size(); at += kPieceBytes) {
    sink(part.bytes.subspan(at, std::min(kPieceBytes, part.bytes.size() - at)));
  }
}

// The transpose in floats: small matrices only (one head's) are asked for that way.
Tensor transposed(const Tensor& part) {
  const std::int64_t rows = part.rows(), cols = part.cols();
  std::vector<float> values(rows * cols), row(cols);
  for (std::int64_t r = 0; r < rows; ++r) {
    decode_row(part, r, row);
    for (std::int64_t c = 0; c < cols; ++c) values[c * rows + r] = row[c];
  }
  return make_tensor({cols, rows}, std::move(values));
}

void encode_row(const Job& job, const Tensor& part, std::int64_t row, std::vector<float>& values, std::byte* out) {
  const std::int64_t stored = job.source.order.empty() ? row : job.source.order[row];
  if (part.type == job.type && job.source.offset == 0.0f) {
    const std::size_t bytes = part.row_bytes();
    std::memcpy(out, part.bytes.data() + stored * bytes, bytes);
    return;
  }
  decode_row(part, stored, values);
  if (job.source.offset != 0.0f) {
    for (float& value : values) value += job.source.offset;
  }
  try {
    encode_values(job.type, values, out);
  } catch (const Error& error) {
    fail(tensor_label(job.name), error.what());
  }
}

void encode_part(const Job& job, const Tensor& part, const ByteSink& sink) {
  const std::int64_t rows = part.rows(), cols = part.cols();
  if (rows == 0 || cols == 0) return;
  const std::size_t row_bytes = bytes_of(job.type, cols);
  const std::int64_t piece_rows = std::clamp<std::int64_t>(kPieceBytes / row_bytes, 1, rows);
  std::vector<std::byte> piece(piece_rows * row_bytes);
  std::vector<std::vector<float>> values(job.pool.threads(), std::vector<float>(cols));
  for (std::int64_t begin = 0; begin < rows; begin += piece_rows) {
    const std::int64_t count = std::min(piece_rows, rows - begin);
    const std::int64_t block = std::max<std::int64_t>(1, count / (8 * job.pool.threads()));
    job.pool.for_each_block((count + block - 1) / block, [&](std::int64_t b, int worker) {
      for (std::int64_t r = b * block; r < std::min(count, (b + 1) * block); ++r) {
        encode_row(job, part, begin + r, values[worker], piece.data() + r * row_bytes);
      }
    });
    sink({piece.data(), static_cast<std::size_t>(count) * row_bytes});
  }
}

}  // namespace

TensorToWrite encode_rows(std::string name, Shape shape, DType type, RowSource source, ThreadPool& pool) {
  TensorToWrite out{name, type, std::move(shape), nullptr};
  auto job = std::make_shared<const Job>(Job{std::move(name), type, std::move(source), pool});
  out.produce = [job](const ByteSink& sink) {
    for (const Tensor& part : job->source.parts) {
      if (part.type == job->type && job->source.as_stored()) {
        pass_bytes(part, sink);
      } else {
        encode_part(*job, job->source.transpose ? transposed(part) : part, sink);
      }
    }
  };
  return out;
}

}  // namespace junto
