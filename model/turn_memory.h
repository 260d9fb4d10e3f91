// Memory in which the halves of a block take turns: queries, keys and what attention gives are gone when the experts'
// outputs come, and those when the next block begins.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/view.h"

namespace junto {

/// Floats of the half that computes. What was taken stays where it is until the next begin().
class TurnMemory {
 public:
  /// A half begins: what was taken before is free.
  void begin();
  /// Right after begin(): at least `count` floats in one piece, so that nothing is allocated until they are taken.
  void reserve(std::int64_t count);
  /// `count` floats of unspecified value.
  float* take(std::int64_t count);
  /// Changes with every begin().
  std::uint64_t turn() const { return turn_; }
  std::int64_t size() const;

 private:
  struct Piece {
    std::unique_ptr<float[]> values;
    std::int64_t size = 0;
  };
  std::vector<Piece> pieces_;  // the last one has room left
  std::int64_t used_ = 0;      // of the last piece
  std::int64_t taken_ = 0;     // since begin()
  std::uint64_t turn_ = 1;
};

/// A Matrix<float> for one turn: what it shows after the next begin() is anybody's, until resize().
class TurnMatrix {
 public:
  explicit TurnMatrix(TurnMemory& memory) : memory_(&memory) {}

  void resize(std::int64_t rows, std::int64_t cols) {
    const std::int64_t count = rows * cols;
    if (turn_ != memory_->turn() || count > room_) {
      values_ = memory_->take(count);
      room_ = count;
      turn_ = memory_->turn();
    }
    shown_ = {values_, rows, cols};
  }
  MatrixView<float> view() { return shown_; }
  MatrixView<const float> view() const { return shown_; }

 private:
  TurnMemory* memory_;
  float* values_ = nullptr;
  std::int64_t room_ = 0;
  std::uint64_t turn_ = 0;
  MatrixView<float> shown_;
};

}  // namespace junto
