// Trains a byte-level BPE: pieces cut by GPT-2's pattern, pairs of neighbours merged, the most frequent first (Sennrich
// et al., arXiv 1508.07909; over bytes: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "format/tokenizer/pre_tokenizer.h"

namespace junto::text {

struct BpeTraining {
  std::int64_t vocabulary = 8192;                        // tokens in all: special ones, the 256 bytes, merges
  std::int64_t min_count = 2;                            // a pair that occurs less often is not merged
  std::vector<std::string> special = {"<|endoftext|>"};  // the lowest ids; the first begins and ends texts
};

/// Different pieces of all texts so far, and how often each occurs.
class PieceCounts {
 public:
  PieceCounts();
  /// One text: what is not UTF-8 counts as U+FFFD. `done` hears bytes read, part by part.
  void add(std::string_view text, const std::function<void(std::size_t bytes)>& done = {});
  const std::unordered_map<std::string, std::int64_t>& all() const { return counts_; }

 private:
  std::vector<PreTokenizerStep> steps_;
  std::unordered_map<std::string, std::int64_t> counts_;
};

struct TrainedBpe {
  std::vector<std::string> special;                         // ids 0..
  std::vector<std::string> tokens;                          // the ids after them: 256 bytes, merges; spelled bytes
  std::vector<std::pair<std::string, std::string>> merges;  // best first, spelled bytes
};

/// Merges until the vocabulary is full or no pair occurs min_count times. Of pairs that occur equally often the one of
/// lower ids comes first, so that the result follows from the texts alone, and is that of `tokenizers` (its BpeTrainer
/// with the byte-level alphabet). `merged` hears of each merge. Throws Error "vocabulary is ..." where it has no room
/// for bytes and special tokens, and for special tokens that are empty or given twice.
TrainedBpe train_bpe(const PieceCounts& pieces, const BpeTraining& options, const std::function<void()>& merged = {});

/// The text of a tokenizer.json: special tokens are recognised in texts, and the first one is put before a text where
/// special tokens are asked for.
std::string tokenizer_json(const TrainedBpe& bpe);

}  // namespace junto::text
