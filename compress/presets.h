// Shapes of published models, for measurements without their weights.
#pragma once

#include <span>
#include <string_view>

#include "base/json.h"

namespace junto {

struct Preset {
  std::string_view name;     // "olmoe-1b-7b"
  std::string_view summary;  // for lists
  std::string_view config;   // the shape-giving part of the model's config.json
};

std::span<const Preset> presets();

/// In place of a preset's own; 0: the preset's.
struct ShapeChanges {
  int layers = 0;
  int experts = 0;
  int width = 0;  // neurons of a routed expert
  int top_k = 0;  // experts that a token chooses
};

/// The changed configuration of a preset. Throws Error naming the presets, or the options that do not fit.
Json preset_config(std::string_view name, const ShapeChanges& changes);

}  // namespace junto
