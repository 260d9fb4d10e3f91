#include "compress/carve_order.h"

#include <algorithm>
#include <cstdint>

namespace junto {
namespace {

// How often two experts have a token in common, [E, E].
Matrix<float> common_tokens(MatrixView<const float> chosen) {
  Matrix<float> common(chosen.rows, chosen.rows);
  for (std::int64_t a = 0; a < chosen.rows; ++a) {
    for (std::int64_t b = 0; b < a; ++b) {
      double sum = 0;
      for (std::int64_t t = 0; t < chosen.cols; ++t) sum += static_cast<double>(chosen.at(a, t)) * chosen.at(b, t);
      common.view().at(a, b) = common.view().at(b, a) = static_cast<float>(sum);
    }
  }
  return common;
}

// From expert 0, always to the one that has most in common with an end of the path.
std::vector<int> greedy_path(MatrixView<const float> common) {
  std::vector<int> path = {0};
  std::vector<bool> used(static_cast<std::size_t>(common.rows));
  used[0] = true;
  while (std::ssize(path) < common.rows) {
    int best = -1;
    bool at_front = false;
    float most = -1;
    for (int e = 0; e < common.rows; ++e) {
      if (used[e]) continue;
      for (const bool front : {false, true}) {
        const float value = common.at(front ? path.front() : path.back(), e);
        if (value > most) most = value, best = e, at_front = front;
      }
    }
    path.insert(at_front ? path.begin() : path.end(), best);
    used[best] = true;
  }
  return path;
}

// Turns around the part [first, last] where its two edges to the rest become heavier; true where one did.
bool improve(std::vector<int>& path, MatrixView<const float> common) {
  const auto weight = [&](std::ptrdiff_t a, std::ptrdiff_t b) {
    const bool inside = a >= 0 && b < std::ssize(path);
    return inside ? common.at(path[a], path[b]) : 0.0f;
  };
  bool improved = false;
  for (std::ptrdiff_t first = 0; first < std::ssize(path); ++first) {
    for (std::ptrdiff_t last = first + 1; last < std::ssize(path); ++last) {
      const float now = weight(first - 1, first) + weight(last, last + 1);
      const float then =
          (first > 0 ? weight(first - 1, last) : 0.0f) + (last + 1 < std::ssize(path) ? weight(first, last + 1) : 0.0f);
      if (then <= now * 1.000001f) continue;
      std::reverse(path.begin() + first, path.begin() + last + 1);
      improved = true;
    }
  }
  return improved;
}

}  // namespace

std::vector<int> order_by_company(MatrixView<const float> chosen) {
  const Matrix<float> common = common_tokens(chosen);
  std::vector<int> path = greedy_path(common.view());
  for (int round = 0; round < 100 && improve(path, common.view()); ++round) {
  }
  return path;
}

}  // namespace junto
