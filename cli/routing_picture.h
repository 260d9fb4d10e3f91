// A picture in the terminal: tokens as rows, for each layer the experts that took them.
#pragma once

#include <string>
#include <vector>

#include "analyze/route_recorder.h"
#include "model/config.h"

namespace junto {

struct RoutingPicture {
  int width = 100;      // columns to stay within
  bool colour = false;  // a colour for each expert
  int most_rows = 80;   // of more, the first and the last are shown
};

/// `tokens` are the texts of the rows of `routed`. While all experts of all layers fit, each has a column, and the
/// height of its bar is the weight as a share of the token's largest; below them stands the load of each expert. Where
/// they do not fit, the ids of the heaviest experts are written out, for as many layers as fit, evenly chosen.
std::string draw_routing(const ModelConfig& config, const std::vector<const RoutedBlock*>& routed,
                         const std::vector<std::string>& tokens, const RoutingPicture& picture);

}  // namespace junto
