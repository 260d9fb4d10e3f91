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

/// The configuration of a preset, with `layers` and `experts` in place of its own where they are not 0. Throws Error
/// naming the presets, or the options that do not fit.
Json preset_config(std::string_view name, int layers, int experts);

}  // namespace junto
