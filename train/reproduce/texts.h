// The texts of an experiment, in three parts by document: one trains, one tunes, one is read once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyze/experiment.h"
#include "train/data/token_text.h"

namespace junto {

struct DomainText {
  std::string domain;
  std::string file;  // as the experiment names it
  std::string path;  // where it is
  std::string sha256 = {};
  TokenIds tune = {}, test = {};  // documents of the trainer's validation part, each followed by end_of_text
  std::int32_t end_of_text = 0;
  std::int64_t tune_documents = 0, test_documents = 0;
  double bytes_per_token = 1.0;                 // of its documents to tune and test; 1 where tokens are bytes
  PathLabels tune_paths = {}, test_paths = {};  // of traces
  bool held_out = false;                        // all of it tests
};

/// Whether what is trained predicts paths.
bool are_traces(const std::vector<DomainText>& texts);

/// Reads every text with the recipe's `data` options, then those that are held out; files are looked for in `folder`.
/// Throws Error naming the file
/// that is missing and what fetches it, or the part that has fewer than `length` + 1 tokens.
std::vector<DomainText> read_texts(const Experiment& experiment, const std::string& folder, std::int64_t length);

/// Parts documents into two halves by their own text, whatever the others are.
void split_documents(const TokenIds& text, std::int32_t end_of_text, TokenIds& first, TokenIds& second);

}  // namespace junto
