// `junto carve --report`: what a carved model costs and gives at each share of active neurons, beside the source and
// beside what a user would do instead: the source quantised down to the same bytes per token.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "compress/carve_router.h"
#include "generate/document_loss.h"

namespace junto {

/// A held-out text; documents are parted by form feeds.
struct HeldOutText {
  std::string name;
  std::vector<std::vector<std::int32_t>> documents;  // token ids
};

struct CarveComparison {
  std::string source;  // path
  std::string carved;  // path
  CarveShape shape;
  std::vector<double> shares = {1.0, 0.75, 0.5, 0.25};  // those are left out that the shared groups exceed
  std::vector<HeldOutText> texts;
  int threads = 0;
};

struct ComparedModel {
  enum class Kind { kSource, kCarved, kQuantised };
  Kind kind = Kind::kSource;
  std::string label;
  double active = 1.0;  // share of the feed-forward neurons
  int top_k = 0;        // kCarved
  double bytes_per_token = 0;
  double tokens_per_s = 0;
  double speed = 1.0;            // times the source's, measured in turns
  std::vector<MeanLoss> losses;  // by text
  MeanLoss loss;                 // all texts
};

struct CarveFindings {
  std::vector<ComparedModel> models;    // the source, then each share: carved, quantised
  double largest_logit_difference = 0;  // all experts chosen, to the source, on the first tokens of the first text
  std::vector<std::string> verdicts;    // a line for each share
};

/// Measures. Progress on stderr; quantised models are temporary files beside `carved`.
CarveFindings compare_carved(const CarveComparison& comparison);

std::string describe(const CarveFindings& findings, const CarveComparison& comparison);
Json to_json(const CarveFindings& findings, const CarveComparison& comparison);

}  // namespace junto
