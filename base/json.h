// JSON from files that nobody vouches for: bounded depth, errors that name the file.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace junto {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

inline constexpr int kMaxJsonDepth = 64;

/// Parses `text`; throws Error "where: ..." on a syntax error (line and column), invalid UTF-8, or nesting deeper than
/// `max_depth`.
Json parse_json(std::string_view text, std::string_view where, int max_depth = kMaxJsonDepth);

/// The same, keeping the order of keys (templates print objects in the order in which they were written).
OrderedJson parse_ordered_json(std::string_view text, std::string_view where, int max_depth = kMaxJsonDepth);

}  // namespace junto
