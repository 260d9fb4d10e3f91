// Matrices large enough to be read to where they stay: pages of a real file to pages of a slot, interleaved there.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "kernels/interleave.h"
#include "moe/expert_cache.h"
#include "moe/test_random_linear.h"

namespace junto {
namespace {

constexpr int kOfLayer = 4;

class StraightReads : public testing::TestWithParam<ReadEngine> {
 protected:
  StraightReads() {
    std::mt19937 random(11);
    for (ExpertWeights& expert : experts_) {
      expert.gate = random_linear(DType::kQ4_0, 512, 1024, random);
      expert.up = random_linear(DType::kF16, 256, 544, random);
      expert.down = random_linear(DType::kQ4_0, 512, 1056, random);  // 33 blocks: larger interleaved
    }
  }
  ~StraightReads() override { unlink(path_.c_str()); }

  /// Matrices begin `offset` bytes behind a page; the file ends with the last one.
  void write_file(std::size_t offset) {
    std::vector<std::byte> bytes(kDirectAlignment + offset);
    places_.clear();
    for (const ExpertWeights& expert : experts_) {
      ExpertPlace& place = places_.emplace_back();
      place.weights = &expert;
      for (const Linear* linear : {&expert.gate, &expert.up, &expert.down}) {
        const WeightMatrix& w = linear->weights;
        place.places.push_back({w, 0, bytes.size()});
        bytes.insert(bytes.end(), w.data, w.data + w.bytes());
      }
    }
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    size_ = bytes.size();
  }

  std::unique_ptr<ExpertCache> make_cache(std::int64_t budget) {
    std::vector<std::unique_ptr<BlockReader>> readers;
    readers.push_back(open_block_reader(path_));
    ExpertCacheOptions options;
    options.budget_bytes = budget;
    options.engine = GetParam();
    return std::make_unique<ExpertCache>(std::vector<std::vector<ExpertPlace>>{places_}, std::move(readers), options,
                                         path_);
  }

  void expect_right(ExpertCache& cache, const std::vector<std::int32_t>& ids) {
    std::size_t computed = 0;
    cache.run(0, ids, [&](std::span<const std::int32_t> ready) {
      for (const std::int32_t e : ready) {
        const ExpertWeights &wanted = experts_[e], &found = *cache.expert(0, e);
        EXPECT_EQ(decoded(found.gate.weights), decoded(wanted.gate.weights));
        EXPECT_EQ(decoded(found.up.weights), decoded(wanted.up.weights));
        EXPECT_EQ(decoded(found.down.weights), decoded(wanted.down.weights));
      }
      computed += ready.size();
    });
    EXPECT_EQ(computed, ids.size());
  }

  std::string path_ = testing::TempDir() + "junto_straight_" + std::to_string(getpid());
  ExpertWeights experts_[kOfLayer];
  std::vector<ExpertPlace> places_;
  std::size_t size_ = 0;
};

TEST_P(StraightReads, GiveTheStoredWeightsWhereverTheFileHasThem) {
  for (const std::size_t offset : {0, 32, 4064, 8}) {
    write_file(offset);
    EXPECT_EQ(region_in_slot(places_[0].places[0], false).straight, offset % kInterleavedAlignment == 0);
    EXPECT_FALSE(region_in_slot(places_[0].places[0], true).straight);
    if (gains_from_interleaving(experts_[0].down.weights)) {
      EXPECT_FALSE(region_in_slot(places_[0].places[2], false).straight);
    }
    const auto cache = make_cache(2 * static_cast<std::int64_t>(make_cache(1 << 28)->slot_bytes()));
    ASSERT_EQ(cache->slots(), 2);
    const std::vector<std::vector<std::int32_t>> asked = {{0, 1, 2, 3}, {1}, {0, 3}, {0, 2}};
    for (const std::vector<std::int32_t>& ids : asked) expect_right(*cache, ids);
  }
}

TEST_P(StraightReads, AFileThatBecameShorterIsAnError) {
  write_file(32);
  const auto cache = make_cache(1 << 28);
  ASSERT_EQ(truncate(path_.c_str(), static_cast<off_t>(size_ - experts_[3].down.weights.bytes() - 40000)), 0);
  EXPECT_THROW(expect_right(*cache, {2, 3}), Error);
  expect_right(*cache, {0, 1, 2});
}

INSTANTIATE_TEST_SUITE_P(All, StraightReads, testing::Values(ReadEngine::kAuto, ReadEngine::kThreads),
                         [](const auto& of) { return of.param == ReadEngine::kAuto ? "auto" : "threads"; });

}  // namespace
}  // namespace junto
