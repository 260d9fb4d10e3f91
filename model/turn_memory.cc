#include "model/turn_memory.h"

#include <utility>

namespace junto {
namespace {

constexpr std::int64_t kTurnAlignment = 16;  // floats: no two matrices share a line

}  // namespace

void TurnMemory::begin() {
  ++turn_;
  used_ = 0;
  // What took several pieces gets one of its size, once the old ones are free.
  if (pieces_.size() > 1) {
    pieces_.clear();
    reserve(taken_);
  }
  taken_ = 0;
}

void TurnMemory::reserve(std::int64_t count) {
  if (!pieces_.empty() && pieces_.back().size - used_ >= count) return;
  if (used_ == 0 && pieces_.size() == 1) pieces_.clear();
  pieces_.push_back({std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(count)), count});
  used_ = 0;
}

float* TurnMemory::take(std::int64_t count) {
  count = (count + kTurnAlignment - 1) / kTurnAlignment * kTurnAlignment;
  reserve(count);
  taken_ += count;
  return pieces_.back().values.get() + std::exchange(used_, used_ + count);
}

std::int64_t TurnMemory::size() const {
  std::int64_t sum = 0;
  for (const Piece& piece : pieces_) sum += piece.size;
  return sum;
}

}  // namespace junto
