// The tokens of a trace in the order in which they compute: its sequences one after the other, or several side by side.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analyze/route_trace.h"

namespace junto {

/// Tokens that compute together, ascending.
using TracedPass = std::vector<std::int64_t>;

/// `sequences` 1: token by token, as the trace stands. More: so many sequences at a time, a token of each in every
/// pass, as long as the shortest of them; sequences that are left over are left out. Throws Error naming the trace
/// where it has not as many.
std::vector<TracedPass> passes_of(const RouteTrace& trace, std::int64_t sequences);

/// Of the trace's sequence, the token itself the last.
std::span<const std::int32_t> sequence_up_to(const RouteTrace& trace, std::int64_t token);

}  // namespace junto
