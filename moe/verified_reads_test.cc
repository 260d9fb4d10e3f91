// Experts that are held to their checksums when they are read: what comes damaged is an error, never a weight.
#include <gtest/gtest.h>

#include <cstring>

#include "base/crc32c.h"
#include "base/error.h"
#include "kernels/interleave.h"
#include "moe/expert_cache.h"
#include "moe/test_random_linear.h"

namespace junto {
namespace {

constexpr int kBlocks = 2, kExpertsOfBlock = 5;
constexpr std::int64_t kWide = 64, kInner = 30;

/// Pages of a file in memory, of which one bit may come wrong.
struct Pages {
  std::vector<std::byte> bytes;
  std::int64_t wrong_byte = -1;
};

class PagesReader : public BlockReader {
 public:
  explicit PagesReader(Pages& pages) : pages_(pages) {}
  std::size_t read(std::uint64_t offset, std::span<std::byte> to) override {
    const std::size_t count = std::min(pages_.bytes.size() - offset, to.size());
    std::memcpy(to.data(), pages_.bytes.data() + offset, count);
    const std::int64_t at = pages_.wrong_byte - static_cast<std::int64_t>(offset);
    if (at >= 0 && at < static_cast<std::int64_t>(count)) to[static_cast<std::size_t>(at)] ^= std::byte{1};
    return count;
  }

 private:
  Pages& pages_;
};

/// As the kernels read it.
Linear interleaved(Linear linear) {
  const WeightMatrix stored = linear.weights;
  const std::shared_ptr<std::byte> bytes = allocate_weights(interleaved_bytes(stored));
  interleave_groups(stored, {0, interleaved_groups(stored)}, bytes.get());
  linear.weights = interleaved_weights(stored, bytes.get(), bytes);
  return linear;
}

/// Experts as packed files have them: each on pages of its own, read at once.
class VerifiedReads : public testing::Test {
 protected:
  VerifiedReads() {
    std::mt19937 random(9);
    for (auto& block : experts_) {
      for (ExpertWeights& expert : block) {
        expert.up = interleaved(random_linear(DType::kF32, kInner, kWide, random));
        expert.down = interleaved(random_linear(DType::kF32, kWide, kInner, random));
      }
    }
  }

  std::unique_ptr<ExpertCache> make_cache(int slots, bool verify, bool has_checksums = true,
                                          Prefetch prefetch = Prefetch::kNone) {
    EXPECT_FALSE(gains_from_interleaving(experts_[0][0].up.weights));
    pages_.bytes.clear();
    std::vector<std::vector<ExpertPlace>> places(kBlocks);
    for (int block = 0; block < kBlocks; ++block) {
      for (const ExpertWeights& expert : experts_[block]) {
        ExpertPlace& place = places[static_cast<std::size_t>(block)].emplace_back();
        place.weights = &expert;
        const std::size_t begin = pages_.bytes.size();
        for (const Linear* linear : {&expert.up, &expert.down}) {
          const WeightMatrix& w = linear->weights;
          place.places.push_back({w, 0, pages_.bytes.size()});
          pages_.bytes.insert(pages_.bytes.end(), w.data, w.data + w.bytes());
        }
        pages_.bytes.resize((pages_.bytes.size() + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment);
        place.whole_bytes = pages_.bytes.size() - begin;
        if (has_checksums) place.checksum = crc32c(std::span(pages_.bytes).subspan(begin));
      }
    }
    expert_bytes_ = static_cast<std::int64_t>(places[0][0].whole_bytes);
    std::vector<std::unique_ptr<BlockReader>> readers;
    readers.push_back(std::make_unique<PagesReader>(pages_));
    ExpertCacheOptions options;
    options.budget_bytes = slots * expert_bytes_;
    options.verify_reads = verify;
    options.prefetch = prefetch;
    return std::make_unique<ExpertCache>(std::move(places), std::move(readers), options, "packed.gguf");
  }

  void expect_right(ExpertCache& cache, int block, const std::vector<std::int32_t>& ids) {
    cache.run(block, ids, [&](std::span<const std::int32_t> ready) {
      for (const std::int32_t e : ready) {
        const ExpertWeights &found = *cache.expert(block, e), &wanted = experts_[block][e];
        EXPECT_EQ(decoded(found.up.weights), decoded(wanted.up.weights));
        EXPECT_EQ(decoded(found.down.weights), decoded(wanted.down.weights));
      }
    });
  }

  std::string error_of(ExpertCache& cache, int block, const std::vector<std::int32_t>& ids) {
    try {
      expect_right(cache, block, ids);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  void damage(int block, int expert, std::int64_t byte) {
    pages_.wrong_byte = (block * kExpertsOfBlock + expert) * expert_bytes_ + byte;
  }

  ExpertWeights experts_[kBlocks][kExpertsOfBlock];
  Pages pages_;
  std::int64_t expert_bytes_ = 0;
};

TEST_F(VerifiedReads, AnyDamagedByteIsAnErrorThatNamesFileBlockAndExpert) {
  const auto cache = make_cache(3, true);
  for (const std::int64_t byte : {std::int64_t{0}, std::int64_t{5000}, expert_bytes_ - 1}) {
    damage(1, 3, byte);
    expect_right(*cache, 0, {0, 1, 2, 3, 4});
    const std::string error = error_of(*cache, 1, {1, 3});
    EXPECT_EQ(error.rfind("packed.gguf: expert 3 of block 1 has CRC-32C ", 0), 0u) << error;
    EXPECT_NE(error.find("the file is damaged"), std::string::npos);
    EXPECT_FALSE(error_of(*cache, 1, {3}).empty());  // it is not taken for read now
    pages_.wrong_byte = -1;
    expect_right(*cache, 1, {1, 3, 4});
  }
}

TEST_F(VerifiedReads, WithoutTheOptionNobodyNotices) {
  const auto cache = make_cache(3, false);
  damage(0, 2, expert_bytes_ - 1);  // of the padding, so that the weights are right all the same
  expect_right(*cache, 0, {1, 2});
}

TEST_F(VerifiedReads, ADamagedGuessIsAnErrorOfWhoeverAsksForIt) {
  const auto cache = make_cache(8, true, true, Prefetch::kPreviousLayer);
  damage(1, 2, 77);
  for (int token = 0; token < 4; ++token) {
    expect_right(*cache, 0, {2});  // guesses expert 2 of block 1
    expect_right(*cache, 1, {0});
  }
  expect_right(*cache, 0, {2});
  EXPECT_NE(error_of(*cache, 1, {2}).find("expert 2 of block 1 has CRC-32C"), std::string::npos);
}

TEST_F(VerifiedReads, ExpertsWithoutChecksumsAreRefused) {
  try {
    make_cache(3, true, false);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("has no checksum for each expert"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace junto
