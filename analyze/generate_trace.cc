#include "analyze/generate_trace.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "model/sequence.h"

namespace junto {
namespace {

/// What one layer's slots draw from.
class LayerChoice {
 public:
  LayerChoice(int experts, int per_token, double zipf, Random& random)
      : expert_of_rank_(static_cast<std::size_t>(experts)), slots_(static_cast<std::size_t>(per_token), -1) {
    std::iota(expert_of_rank_.begin(), expert_of_rank_.end(), 0);
    for (std::size_t i = expert_of_rank_.size(); i > 1; --i) {
      std::swap(expert_of_rank_[i - 1],
                expert_of_rank_[static_cast<std::size_t>(random.uniform() * static_cast<double>(i))]);
    }
    double sum = 0;
    for (int rank = 1; rank <= experts; ++rank) mass_below_.push_back(sum += std::pow(rank, -zipf));
    chosen_.assign(expert_of_rank_.size(), false);
  }

  const std::vector<std::int32_t>& next(double repeat, Random& random) {
    chosen_.assign(chosen_.size(), false);
    for (std::int32_t& slot : slots_) {
      const bool keeps = random.uniform() < repeat && slot >= 0 && !chosen_[static_cast<std::size_t>(slot)];
      if (!keeps) slot = draw(random);
      chosen_[static_cast<std::size_t>(slot)] = true;
    }
    return slots_;
  }

 private:
  std::int32_t draw(Random& random) const {
    constexpr int kTries = 32;
    for (int i = 0; i < kTries; ++i) {
      const double at = random.uniform() * mass_below_.back();
      const auto found = std::ranges::upper_bound(mass_below_, at);
      const std::size_t rank = std::min(static_cast<std::size_t>(found - mass_below_.begin()), mass_below_.size() - 1);
      const std::int32_t expert = expert_of_rank_[rank];
      if (!chosen_[static_cast<std::size_t>(expert)]) return expert;
    }
    double left = 0;  // nearly all mass is chosen: once through what is not
    const auto mass = [&](std::size_t rank) { return mass_below_[rank] - (rank > 0 ? mass_below_[rank - 1] : 0); };
    const auto is_free = [&](std::size_t rank) { return !chosen_[static_cast<std::size_t>(expert_of_rank_[rank])]; };
    for (std::size_t rank = 0; rank < mass_below_.size(); ++rank) left += is_free(rank) ? mass(rank) : 0;
    double at = random.uniform() * left;
    std::int32_t last = -1;
    for (std::size_t rank = 0; rank < mass_below_.size() && (last < 0 || at >= 0); ++rank) {
      if (!is_free(rank)) continue;
      last = expert_of_rank_[rank];
      at -= mass(rank);
    }
    return last;
  }

  std::vector<std::int32_t> expert_of_rank_, slots_;
  std::vector<double> mass_below_;  // [E], up to and with this rank
  std::vector<bool> chosen_;
};

double parse_part(std::string_view text, std::string_view name, double high) {
  double value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= 0 && value <= high) return value;
  fail(name, "has " + printable(text) + ", expected a number from 0 to " + std::to_string(static_cast<int>(high)));
}

}  // namespace

TraceRecipe parse_trace_recipe(std::string_view text, std::string_view name) {
  TraceRecipe recipe;
  for (std::string_view rest = text; true;) {
    const std::string_view part = rest.substr(0, rest.find(','));
    if (part.starts_with("zipf:")) {
      recipe.zipf = parse_part(part.substr(5), name, 10);
    } else if (part.starts_with("repeat:")) {
      recipe.repeat = parse_part(part.substr(7), name, 1);
    } else if (part != "uniform") {
      fail(name, "is " + printable(text) + ", expected uniform, zipf:S and repeat:P as in zipf:1.0,repeat:0.5");
    }
    if (part.size() == rest.size()) return recipe;
    rest.remove_prefix(part.size() + 1);
  }
}

std::int64_t expert_bytes_of(const Model& model, int block) {
  std::int64_t most = 0;
  const std::shared_ptr<const ExpertTable> table = model.experts->snapshot();
  for (const ExpertWeights* expert : table->layers[static_cast<std::size_t>(block)].experts) {
    most = std::max(most, static_cast<std::int64_t>(expert->bytes()));
  }
  return most;
}

TraceShape shape_of(const Model& model) {
  TraceShape shape;
  for (std::size_t b = 0; b < model.config.blocks.size(); ++b) {
    const BlockSpec& block = model.config.blocks[b];
    if (!block.routed) continue;
    for (int round = 0; round < block.moe.rounds.count; ++round) {
      shape.layers.push_back(
          {block.layer, false, block.moe.router.experts, expert_bytes_of(model, static_cast<int>(b)), {}, round});
      shape.per_token.push_back(max_experts_per_unit(block.moe.router));
    }
  }
  if (shape.layers.empty()) fail(model.path, "has no routed layer");
  return shape;
}

TraceShape make_trace_shape(int layers, int experts, int per_token, std::int64_t expert_bytes) {
  if (layers < 1) fail("--layers", "is " + std::to_string(layers) + ", expected at least 1");
  if (experts < 1 || experts > kMaxTracedExperts || std::int64_t{experts} * layers > kMaxTracedCells) {
    fail("--experts", "is " + std::to_string(experts) + ", expected 1.." + std::to_string(kMaxTracedExperts) + " and " +
                          std::to_string(kMaxTracedCells) + " in all layers");
  }
  if (per_token < 1 || per_token > experts) {
    fail("--top-k", "is " + std::to_string(per_token) + ", expected 1.." + std::to_string(experts));
  }
  TraceShape shape;
  for (int l = 0; l < layers; ++l) shape.layers.push_back({l, false, experts, expert_bytes, {}});
  shape.per_token.assign(shape.layers.size(), per_token);
  return shape;
}

RouteTrace generate_trace(const TraceShape& shape, const TraceRecipe& recipe, std::int64_t tokens, std::uint64_t seed) {
  Random random(seed);
  RouteTrace trace;
  char source[96];
  std::snprintf(source, sizeof source, "generated: zipf %g, repeat %g, seed %llu", recipe.zipf, recipe.repeat,
                static_cast<unsigned long long>(seed));
  trace.source = source;
  trace.layers = shape.layers;
  trace.token.assign(static_cast<std::size_t>(tokens), kNoToken);
  if (tokens > 0) trace.sequence_begin = {0};
  for (std::size_t l = 0; l < trace.layers.size(); ++l) {
    RoutePlan& plan = trace.layers[l].plan;
    LayerChoice choice(trace.layers[l].experts, shape.per_token[l], recipe.zipf, random);
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (const std::int32_t e : choice.next(recipe.repeat, random)) {
        plan.expert.push_back(e);
        plan.weight.push_back(1.0f / static_cast<float>(shape.per_token[l]));
      }
      plan.offset.push_back(static_cast<std::int32_t>(plan.slots()));
    }
  }
  return trace;
}

}  // namespace junto
