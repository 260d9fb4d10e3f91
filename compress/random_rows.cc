#include "compress/random_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numbers>
#include <utility>
#include <vector>

#include "tensor/block_formats.h"

namespace junto {
namespace {

constexpr std::int64_t kMostDrawn = std::int64_t{1} << 16;  // enough that no two rows are alike
constexpr std::size_t kRandomBytes = std::size_t{8} << 20;
constexpr std::size_t kBlockBytes = std::size_t{64}
                                    << 10;  // of one random stream: fixed, so that threads do not matter

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
class RowRandom {
 public:
  explicit RowRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  /// In (0, 1].
  double uniform() { return static_cast<double>((bits() >> 11) + 1) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

std::uint64_t hash(std::string_view text, std::uint64_t seed) {
  std::uint64_t h = 1469598103934665603u ^ seed;  // FNV-1a
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return RowRandom(h).bits();
}

// Encoded normal numbers (Box and Muller): whole blocks of any type, no more than `wanted` asks for.
std::vector<std::byte> draw_units(DType type, std::int64_t wanted, float mean, float spread, std::uint64_t seed) {
  RowRandom random(seed);
  const std::int64_t count = std::min(kMostDrawn, (wanted + 255) / 256 * 256);
  std::vector<float> values(count);
  for (std::int64_t i = 0; i < count; i += 2) {
    const double radius = std::sqrt(-2 * std::log(random.uniform()));
    const double angle = 2 * std::numbers::pi * random.uniform();
    values[i] = static_cast<float>(mean + spread * radius * std::cos(angle));
    values[i + 1] = static_cast<float>(mean + spread * radius * std::sin(angle));
  }
  std::vector<std::byte> encoded(bytes_of(type, count));
  encode_values(type, values, encoded.data());
  return encoded;
}

}  // namespace

TensorToWrite random_rows(std::string name, Shape shape, DType type, float mean, float spread, std::uint64_t seed,
                          ThreadPool& pool) {
  const std::uint64_t stream = hash(name, seed);
  TensorToWrite out{name, type, shape, nullptr};
  const std::uint64_t total = checked_bytes("synth", name, type, shape);
  const auto values = static_cast<std::int64_t>(total / block_bytes(type)) * block_values(type);
  out.produce = [=, &pool](const ByteSink& sink) {
    const std::vector<std::byte> units = draw_units(type, values, mean, spread, stream);
    // What is drawn at once: whole blocks, or groups of plain values.
    const std::size_t unit_bytes = is_quantised(type) ? block_bytes(type) : 16 * block_bytes(type);
    const std::uint64_t unit_count = units.size() / unit_bytes;
    const std::size_t block_size = kBlockBytes / unit_bytes * unit_bytes;
    const std::size_t piece_size = kRandomBytes / block_size * block_size;
    std::vector<std::byte> piece(std::min<std::uint64_t>(piece_size, total));
    for (std::uint64_t at = 0; at < total; at += piece_size) {
      const std::size_t size = std::min<std::uint64_t>(piece_size, total - at);
      pool.for_each_block((size + block_size - 1) / block_size, [&](std::int64_t b, int) {
        const std::size_t begin = b * block_size, end = std::min(size, begin + block_size);
        RowRandom random(stream ^ (at + begin));
        for (std::size_t i = begin; i < end; i += unit_bytes) {
          const std::size_t unit = random.bits() % unit_count;
          std::memcpy(piece.data() + i, units.data() + unit * unit_bytes, std::min(unit_bytes, end - i));
        }
      });
      sink({piece.data(), size});
    }
  };
  return out;
}

}  // namespace junto
