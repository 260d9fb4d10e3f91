#include "model/stored_paths.h"

#include <cstdint>
#include <string>

#include "base/error.h"
#include "moe/json_fields.h"

namespace junto {
namespace {

constexpr std::int64_t kMostExperts = 65535, kMostInAll = std::int64_t{1} << 20;

}  // namespace

void apply_stored_paths(const Checkpoint& checkpoint, ModelConfig& config) {
  if (!checkpoint.metadata.find(kStoredPathsKey)) return;
  const std::string where = checkpoint.path + ": " + kStoredPathsKey;
  const Json stored = parse_json(checkpoint.metadata.required_string(kStoredPathsKey), where);
  JsonFields fields(stored, where, "paths");
  fields.version(1);
  const Json* experts = fields.any("experts");
  if (experts == nullptr || !experts->is_array() || experts->empty()) {
    fields.fail_at("experts", "missing or no list, expected the number of experts of each stage");
  }
  std::int64_t in_all = 0;
  for (const Json& one : *experts) {
    const bool good = one.is_number_integer() && one >= 1 && one <= kMostExperts;
    if (!good || (in_all += one.get<std::int64_t>()) > kMostInAll) {
      fields.fail_at("experts", "a list with " + quoted(one) + ", expected numbers in 1.." +
                                    std::to_string(kMostExperts) + ", in all " + std::to_string(kMostInAll) +
                                    " at most");
    }
    config.path_experts.push_back(one.get<int>());
  }
  fields.finish();
  if (config.tied_embeddings) fields.fail_here("stands in a file without output.weight, expected a head of its own");
}

Json stored_paths(const std::vector<int>& experts) {
  return {{"version", 1}, {"experts", experts}};
}

}  // namespace junto
