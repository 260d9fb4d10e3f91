// What a decoder's buffers take is what was said before, of every architecture: counted by the program's own new.
#include "model/working_memory.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "model/decoder.h"

namespace {

std::atomic<std::int64_t> live_bytes{0};

void* live_new(std::size_t bytes) {
  void* memory = std::malloc(bytes > 0 ? bytes : 1);
  if (memory) live_bytes += static_cast<std::int64_t>(malloc_usable_size(memory));
  return memory;
}
void live_delete(void* memory) {
  if (memory) live_bytes -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

// Not inlined: GCC 12 would take a pair of them, seen one by one, for a mismatch of new and free.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  void* const memory = live_new(bytes);
  if (!memory) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void* operator new[](std::size_t bytes) {
  void* const memory = live_new(bytes);
  if (!memory) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return live_new(bytes);
}
[[gnu::noinline]] void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return live_new(bytes);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  live_delete(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
  live_delete(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  live_delete(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept {
  live_delete(memory);
}

namespace junto {
namespace {

class WorkingMemory : public testing::TestWithParam<const char*> {};

constexpr int kThreads = 2;

/// Bytes that a decoder has after a prompt of so many rows, its KV pages left out.
std::int64_t bytes_after(const std::shared_ptr<Model>& model, ActivationType activations, std::int64_t rows) {
  ThreadPool pool(kThreads);
  const auto kv = static_cast<std::int64_t>(make_kv_layout(model->config, DType::kF16).bytes_per_position());
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < rows; ++i) ids.push_back(static_cast<std::int32_t>(3 + i * 37 % 370));
  Sequence sequence;
  DecoderOptions options;
  options.activations = activations;
  Decoder decoder(model, pool, options);
  const std::int64_t before = live_bytes;
  decoder.feed(sequence, ids, 0);
  return live_bytes - before - (rows + kPagePositions - 1) / kPagePositions * kPagePositions * kv;
}

TEST_P(WorkingMemory, IsNoMoreThanWasSaidBefore) {
  const std::shared_ptr<Model> model =
      load_model(std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/" + GetParam());
  for (const std::int64_t rows : {1, 100, 200}) {
    for (const ActivationType activations : {ActivationType::kQ8, ActivationType::kF32}) {
      EXPECT_LE(bytes_after(model, activations, rows), working_bytes(*model, activations, rows, kThreads)) << rows;
    }
  }
}

// Of a model whose weights are quantised, as those are that are larger than memory.
TEST(WorkingMemory, IsHardlyLessThanWasSaidBefore) {
  const std::shared_ptr<Model> model = load_model(std::string(JUNTO_SOURCE_DIR) + "/models/junto-mini.gguf");
  for (const std::int64_t rows : {200, 500}) {
    const std::int64_t said = working_bytes(*model, ActivationType::kQ8, rows, kThreads);
    const std::int64_t taken = bytes_after(model, ActivationType::kQ8, rows);
    EXPECT_LE(taken, said) << rows;
    EXPECT_GE(taken, said / 5 * 4) << rows << ": " << said;
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, WorkingMemory,
                         testing::Values("olmoe", "mixtral", "deepseek_v2", "jetmoe", "llama", "llama4",
                                         "longcat_flash", "lfm2_moe", "qwen2_moe", "gpt_oss"),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace junto
