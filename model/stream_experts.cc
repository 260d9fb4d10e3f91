#include "model/stream_experts.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/throttled_reader.h"
#include "kernels/interleave.h"
#include "model/path_predictor.h"

namespace junto {
namespace {

// Of an expert whose matrices follow one another from a page on, as they will lie in a slot: what one read brings. 0 of
// others.
std::size_t whole_bytes(const std::vector<MatrixPlace>& places) {
  std::size_t bytes = 0;
  for (const MatrixPlace& place : places) {
    const bool follows = !gains_from_interleaving(place.stored) && place.file == places[0].file &&
                         place.offset == places[0].offset + bytes;
    if (!follows) return 0;
    bytes += bytes_in_slot(place.stored);
  }
  const bool on_page = !places.empty() && places[0].offset % kDirectAlignment == 0;
  return on_page ? (bytes + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment : 0;
}

// Where an expert is read as it was packed: its whole_bytes are what the checksum was made of.
void add_checksums(const Checkpoint& checkpoint, const PackedExperts& packed, int block,
                   std::vector<ExpertPlace>& places) {
  const auto layer = packed.layers.find(block);
  if (layer == packed.layers.end()) return;
  const std::vector<std::uint32_t> checksums = packed_checksums(checkpoint, block, layer->second);
  for (std::size_t e = 0; e < std::min(places.size(), checksums.size()); ++e) {
    if (places[e].whole_bytes == layer->second.expert_bytes) places[e].checksum = checksums[e];
  }
}

/// Of the model's stages, without the experts that are never read. Throws Error where they are another model's.
std::shared_ptr<const PastRoutes> fitting_routes(const PastRoutes& past,
                                                 const std::vector<std::vector<ExpertPlace>>& layers,
                                                 const std::vector<int>& rounds, const std::string& where) {
  std::vector<int> sizes;
  for (const auto& layer : layers) sizes.push_back(static_cast<int>(layer.size()));
  const ExpertStages stages(sizes, rounds);
  PastRoutes out = past;
  for (int s = 0; s < stages.count() || s < static_cast<int>(past.experts.size()); ++s) {
    const int has = s < stages.count() ? stages.experts(s) : 0;
    const int traced = s < static_cast<int>(past.experts.size()) ? past.experts[static_cast<std::size_t>(s)] : 0;
    if (has != traced) {
      fail("--prefetch-trace", "router " + std::to_string(s) + " chooses from " + std::to_string(traced) +
                                   " experts, that of " + where + " from " + std::to_string(has));
    }
  }
  for (std::size_t i = 0; i < out.asked.size(); ++i) {
    const ExpertStage stage = stages.stage(static_cast<int>(i % out.experts.size()));
    const auto& places = layers[static_cast<std::size_t>(stage.layer)];
    std::erase_if(out.asked[i], [&](std::int32_t e) { return places[static_cast<std::size_t>(e)].places.empty(); });
  }
  return std::make_shared<const PastRoutes>(std::move(out));
}

}  // namespace

bool is_streaming(const Model& model) {
  return model.cache && !model.cache->mapped();
}

bool has_experts_to_interleave(const Model& model) {
  const auto table = model.experts->snapshot();
  return std::ranges::any_of(table->layers, [](const ExpertLayer& layer) {
    return std::ranges::any_of(layer.experts, [](const ExpertWeights* expert) {
      return has_weights(expert->kind) && expert->up.weights.layout == WeightLayout::kRows;
    });
  });
}

std::unique_ptr<ExpertCache> stream_experts(const Model& model, const Checkpoint& checkpoint,
                                            const std::optional<PackedExperts>& packed, const LoadOptions& options) {
  std::vector<std::string> files;
  std::vector<std::unique_ptr<BlockReader>> readers;
  std::vector<std::vector<ExpertPlace>> layers;
  const bool mapped = options.expert_memory == 0;
  const double limit_bytes_per_s = options.disk_limit_bytes_per_s;
  const auto limit = limit_bytes_per_s > 0 ? std::make_shared<RateLimit>(limit_bytes_per_s) : nullptr;
  const auto place_of = [&](const WeightMatrix& stored) {
    if (mapped) return MatrixPlace{stored};
    const std::optional<FilePlace> place = file_place(stored.data);
    if (!place) fail(model.path, "experts are unpacked when they are loaded and cannot be streamed; convert it first");
    const auto known = std::ranges::find(files, place->path);
    const auto file = static_cast<std::size_t>(known - files.begin());
    if (known == files.end()) {
      files.push_back(place->path);
      readers.push_back(open_block_reader(place->path));
      if (limit) readers.back() = throttle(std::move(readers.back()), limit);
    }
    return MatrixPlace{stored, file, place->offset};
  };
  const auto table = model.experts->snapshot();
  for (const ExpertLayer& layer : table->layers) {
    std::vector<ExpertPlace>& places = layers.emplace_back();
    for (const ExpertWeights* expert : layer.experts) {
      ExpertPlace& place = places.emplace_back();
      place.weights = expert;
      for (const Linear* linear : {&expert->gate, &expert->up, &expert->down}) {
        if (!linear->empty()) place.places.push_back(place_of(linear->weights));
      }
      place.whole_bytes = whole_bytes(place.places);
    }
    if (options.verify_reads && packed) add_checksums(checkpoint, *packed, static_cast<int>(layers.size()) - 1, places);
  }
  ExpertCacheOptions cache;
  cache.mapped = mapped;
  cache.verify_reads = !mapped && options.verify_reads;
  cache.budget_bytes = mapped ? std::numeric_limits<std::int64_t>::max() : options.expert_memory;
  cache.evict = options.evict;
  if (cache.evict == Evict::kStatic) {
    std::size_t cells = 0;
    for (const auto& layer : layers) cells += layer.size();
    if (options.popularity.size() != cells) {
      fail(model.path, "has " + std::to_string(cells) + " routed experts, its hot set is of " +
                           std::to_string(options.popularity.size()));
    }
    cache.known.popularity = options.popularity;
  }
  cache.engine = options.read_engine;
  for (const BlockSpec& block : model.config.blocks) cache.rounds.push_back(block.routed ? block.moe.rounds.count : 1);
  cache.prefetch = mapped ? PrefetchRule() : options.prefetch;
  if (cache.prefetch.rule == Prefetch::kPath) {
    if (!options.paths)
      fail("--prefetch", "is " + std::string(prefetch_name(cache.prefetch)) + ", which needs a predictor");
    expect_paths_of(*options.paths, model.config, model.path);
  }
  if (!mapped && options.past) cache.past = fitting_routes(*options.past, layers, cache.rounds, model.path);
  return std::make_unique<ExpertCache>(std::move(layers), std::move(readers), cache, model.path);
}

}  // namespace junto
