// The gallery: results of experiments as one HTML page that loads nothing from elsewhere.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace junto {

/// A result as junto reproduce writes it (train/reproduce/result.h). Throws Error naming `where` and what is missing;
/// results of smoke runs are refused.
void check_result(const Json& result, std::string_view where);

/// Loss on the text to tune against executed FLOP: mean over seeds, with its 95 % interval where there are three or
/// more. An SVG file.
std::string loss_picture(const Json& result);

/// A metric of all arms, mean over seeds with its 95 % interval. An SVG file; empty where arms do not differ in it or
/// have none.
std::string metric_picture(const Json& result, const std::string& metric);

/// The page of all results: claims in one table that can be sorted, then each experiment.
std::string gallery_page(const std::vector<Json>& results);

}  // namespace junto
