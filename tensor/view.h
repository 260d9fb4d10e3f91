// Views: a pointer and its shape. They own nothing; whoever made the memory keeps it alive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace junto {

/// [rows, cols] values, row-major; consecutive rows are `stride` values apart.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  MatrixView() = default;
  MatrixView(T* data_, std::int64_t rows_, std::int64_t cols_) : MatrixView(data_, rows_, cols_, cols_) {}
  MatrixView(T* data_, std::int64_t rows_, std::int64_t cols_, std::int64_t stride_)
      : data(data_), rows(rows_), cols(cols_), stride(stride_) {}
  operator MatrixView<const T>() const { return {data, rows, cols, stride}; }

  std::span<T> row(std::int64_t r) const { return {data + r * stride, static_cast<std::size_t>(cols)}; }
  T& at(std::int64_t r, std::int64_t c) const { return data[r * stride + c]; }
  MatrixView slice_rows(std::int64_t begin, std::int64_t count) const {
    return {data + begin * stride, count, cols, stride};
  }
};

/// Owns what a MatrixView shows. Grows without copying old values: resize() leaves the contents unspecified.
template <class T>
struct Matrix {
  std::vector<T> values;
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  Matrix() = default;
  Matrix(std::int64_t rows_, std::int64_t cols_) { resize(rows_, cols_); }
  void resize(std::int64_t rows_, std::int64_t cols_) {
    rows = rows_;
    cols = cols_;
    const auto count = static_cast<std::size_t>(rows * cols);
    if (values.size() < count) values.resize(count);
  }
  MatrixView<T> view() { return {values.data(), rows, cols}; }
  MatrixView<const T> view() const { return {values.data(), rows, cols}; }
};

}  // namespace junto
