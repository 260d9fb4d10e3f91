// A dense model becomes a mixture: `junto carve`. The neurons of every feed-forward form equal groups; some are always
// on (the shared expert), a router chooses among the rest. With all groups chosen the function is the old one; with
// fewer it is cheaper and worse, and nothing is trained to make up for it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "compress/carve_router.h"
#include "compress/convert.h"
#include "compress/tensor_types.h"
#include "moe/router_spec.h"

namespace junto {

struct CarveOptions {
  std::string source;  // a dense model: GGUF file or Hugging Face directory
  std::string out;
  CarveShape shape;
  std::vector<std::int32_t> calibration;     // tokens of the source's tokenizer
  std::int64_t window = 512;                 // tokens of a calibration sequence
  std::optional<std::int32_t> bos;           // begins each
  DType down_type = DType::kQ8_0;            // of the experts' down matrices, whose rows are cut; others keep theirs
  bool mean_of_unchosen = true;              // an expert that is not chosen leaves its mean output instead of nothing
  std::vector<double> shares = {0.75, 0.5};  // of neurons active, that the fit has in mind
  int threads = 0;
  std::function<void(std::int64_t done, std::int64_t total)> calibrating;  // (token, block) pairs
  std::function<void(std::int64_t done, std::int64_t total)> fitting;      // blocks
  WriteProgress progress;
};

struct CarveReport {
  ConvertReport file;
  std::int64_t calibration_tokens = 0;
  std::int64_t neurons = 0;       // of a group, in the first carved block
  int blocks = 0;                 // carved
  std::uint64_t dense_bytes = 0;  // of their feed-forwards in the source
  RouterSpec router;
  std::vector<double> captured, captured_ideal;  // by carved block: see BlockCarving
};

/// Writes `out`, complete or not at all. Throws Error where the source is a mixture already, a width does not divide
/// into the groups, or the calibration text is too short.
CarveReport carve(const CarveOptions& options);

/// How many routed experts are chosen when `share` of all groups is active; 0 where the shared ones are more.
int chosen_at(const CarveShape& shape, double share);

}  // namespace junto
