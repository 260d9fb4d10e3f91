// One decoded token must not allocate: routing, dispatch, experts and combine live on their scratch.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>
#include <random>

#include "moe/grouped_experts.h"
#include "moe/route.h"
#include "moe/test_random_linear.h"

namespace {

std::atomic<std::int64_t> allocations{0};

void* counted(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(bytes > 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The program's own: every test of the room runs on them. Not inlined: GCC 12 would take a pair of them, seen one by
// one, for a mismatch of new and free.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  return counted(bytes);
}
[[gnu::noinline]] void* operator new[](std::size_t bytes) {
  return counted(bytes);
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return std::malloc(bytes > 0 ? bytes : 1);
}
[[gnu::noinline]] void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return std::malloc(bytes > 0 ? bytes : 1);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace junto {
namespace {

TEST(SteadyState, AnMoeLayerDoesNotAllocate) {
  constexpr int kExperts = 12;
  constexpr std::int64_t kHidden = 64, kUnits = 3;
  std::mt19937 random(1);
  std::vector<ExpertWeights> experts(kExperts);
  std::vector<const ExpertWeights*> pointers;
  for (ExpertWeights& expert : experts) {
    const std::int64_t width = 32 + 32 * (pointers.size() % 3);
    for (Linear* linear : {&expert.gate, &expert.up}) *linear = random_linear(DType::kQ8_0, width, kHidden, random);
    expert.down = random_linear(DType::kQ8_0, kHidden, width, random);
    Overlays overlays;
    overlays.emplace_back(random_low_rank(2, kHidden, width, random));
    expert.down.overlays = std::make_shared<const Overlays>(std::move(overlays));
    pointers.push_back(&expert);
  }
  const RouterSpec specs[] = {
      {.experts = kExperts, .select = TopK{4}, .weigh = Weigh::kRenormalised},
      {.experts = kExperts, .score = Score::kSigmoid, .select = GroupLimited{.k = 4, .groups = 4, .top_groups = 2}},
      {.experts = kExperts, .select = TopP{.p = 0.6f}, .weight_on = WeightOn::kInput}};
  RouteScratch route_scratch;
  RoutePlan plan;
  ExpertGroups groups;
  ExpertScratch scratch;
  ThreadPool pool(2);
  ActivationRows activations;
  Matrix<float> x(kUnits, kHidden), logits(kUnits, kExperts), slots(kUnits * kExperts, kHidden), out(kUnits, kHidden);
  const LayerPolicy policy = {.top_k = 5, .forbidden = {0}};
  const auto step = [&](const RouterSpec& spec, const CompiledRouter& router) {
    for (float& value : x.values) value = std::uniform_real_distribution<float>(-1, 1)(random);
    for (float& value : logits.values) value = std::uniform_real_distribution<float>(-1, 1)(random);
    activations.assign(x.view());
    activations.quantise_all();
    plan.clear();
    for (int u = 0; u < kUnits; ++u) {
      if (u == 0) route_unit(spec, {}, logits.view().row(u), {}, route_scratch, plan);
      if (u == 1) route_unit(router, logits.view().row(u), {}, route_scratch, plan);
      if (u == 2) route_unit(spec, policy, logits.view().row(u), {}, route_scratch, plan);
    }
    group_by_expert(plan, kExperts, groups);
    run_experts(pointers, plan, groups, spec.weight_on, ActivationType::kQ8, activations, pool, scratch, slots.view());
    combine(plan, slots.view(), 0, kUnits, out.view(), spec.weight_on);
  };
  for (const RouterSpec& spec : specs) {
    const CompiledRouter router = compile_router(spec, policy);
    for (int warm_up = 0; warm_up < 100; ++warm_up) step(spec, router);
    // Threads have buffers of their own, and one may have got no core until now: on until 100 steps need nothing new.
    for (int warm_up = 0, quiet = 0; warm_up < 5000 && quiet < 100; ++warm_up) {
      const std::int64_t at = allocations.load();
      step(spec, router);
      quiet = allocations.load() == at ? quiet + 1 : 0;
    }
    // Buffers grow to the most that was ever asked for, so a step may still find a new most, and a thread its first
    // core: not in each of many stretches of 20 steps.
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (int stretch = 0; stretch < 100 && least > 0; ++stretch) {
      const std::int64_t before = allocations.load();
      for (int token = 0; token < 20; ++token) step(spec, router);
      least = std::min(least, allocations.load() - before);
    }
    EXPECT_EQ(least, 0);
  }
  const std::int64_t before = allocations.load();
  ::operator delete(::operator new(1));       // calls, not expressions: a compiler may leave those out in pairs
  EXPECT_EQ(allocations.load() - before, 1);  // the counter counts
}

}  // namespace
}  // namespace junto
