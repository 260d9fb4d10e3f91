// How well the experts of a text's tokens are predicted: by a model of paths, and by what needs no training.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/data/token_text.h"
#include "train/nn/language_model.h"

namespace junto {

/// Of each (token, stage) as many experts are guessed as were asked for, so recall is precision too.
struct MeasuredPaths {
  double loss = 0.0;  // nats a token: of a yes or no for each expert of each stage
  std::int64_t tokens = 0;
  std::int64_t asked = 0, right = 0;  // experts

  double recall() const { return asked > 0 ? static_cast<double>(right) / static_cast<double>(asked) : 0.0; }
};

/// Tokens of a text and what they asked for. Points to both.
struct PathText {
  const TokenIds& tokens;
  const PathLabels& paths;
};

/// The first `spans` spans of `length` tokens, `sequences` at a time, each span a text of its own. No gradient.
MeasuredPaths measure_paths(const LanguageModel& model, const PathText& text, std::int64_t spans,
                            std::int64_t sequences, std::int64_t length);

/// Recall of the first `count` tokens of `text` by guesses that nothing is trained for, by name: the rules of
/// --prefetch (moe/predictor.h) previous-token, previous-layer, frequency and table, each a stage ahead, the table
/// taught by `train`; and token-table: what the same token asked for in `train`, each use counted beside one that all
/// tokens share.
std::map<std::string, double> untrained_recall(const PathText& train, const PathText& text, std::int64_t count,
                                               std::int64_t vocabulary);

}  // namespace junto
