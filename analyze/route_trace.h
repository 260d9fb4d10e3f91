// A trace: which experts every token of a text chose in every layer, as a file. docs/trace.md describes the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analyze/route_recorder.h"
#include "model/config.h"
#include "moe/route_plan.h"

namespace junto {

/// One router's choices: of a layer, or of one round of a layer that has several (moe/rounds.h), whose rounds follow
/// one another and choose from the same experts.
struct TracedLayer {
  int layer = 0;                  // the number that the model's publisher counts by
  bool mixer = false;             // attention experts
  int experts = 0;                // E
  std::int64_t expert_bytes = 0;  // of the largest expert as it is stored; 0: not known
  RoutePlan plan;                 // one unit a token
  int round = 0;

  /// "layer 3", "layer 3, round 1", "attention of layer 3".
  std::string name() const;
};

struct RouteTrace {
  std::string source;                        // what it was recorded from, for people
  std::vector<std::int64_t> sequence_begin;  // ascending; the first is 0 where there are tokens
  std::vector<std::int32_t> token;           // ids; kNoToken where there was none
  std::vector<TracedLayer> layers;           // in the order in which they compute

  std::int64_t tokens() const { return static_cast<std::int64_t>(token.size()); }
};

inline constexpr int kMaxTracedExperts = 65535;                         // of a layer
inline constexpr std::int64_t kMaxTracedCells = std::int64_t{1} << 20;  // experts of all layers

/// What `recorder` saw of `token`, which fell into the sequences that begin where `sequence_begin` says.
RouteTrace make_trace(const RouteRecorder& recorder, const ModelConfig& config, std::vector<std::int32_t> token,
                      std::vector<std::int64_t> sequence_begin);

/// Ids stay what they are; weights are rounded to 16-bit floats.
std::vector<std::byte> serialize_trace(const RouteTrace& trace);
void write_trace(const RouteTrace& trace, const std::string& path);

/// Throws Error naming `where`, the field, what was found and what was expected.
RouteTrace parse_trace(std::span<const std::byte> bytes, std::string_view where);
RouteTrace read_trace(const std::string& path);

}  // namespace junto
