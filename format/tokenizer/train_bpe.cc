#include "format/tokenizer/train_bpe.h"

#include <algorithm>
#include <queue>
#include <unordered_set>

#include "base/error.h"
#include "base/json.h"
#include "format/tokenizer/unicode.h"
#include "format/tokenizer/vocabulary.h"

namespace junto::text {
namespace {

constexpr std::size_t kPartBytes = std::size_t{1} << 20;

/// Where a text of at most about `kPartBytes` ends that is cut as the whole is: before the white space that follows
/// something else, where a piece always begins.
std::size_t part_end(std::string_view text) {
  const auto is_space = [&](std::size_t i) { return text[i] == ' ' || text[i] == '\n'; };
  for (std::size_t i = kPartBytes; i < text.size(); ++i) {
    if (is_space(i) && static_cast<unsigned char>(text[i - 1]) > ' ' && static_cast<unsigned char>(text[i - 1]) < 0x7F)
      return i;
  }
  return text.size();
}

using Pair = std::uint64_t;  // left id, right id

Pair pair_of(TokenId left, TokenId right) {
  return static_cast<Pair>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

struct Word {
  std::vector<TokenId> symbols;
  std::int64_t count;
};

struct PairState {
  std::int64_t count = 0;
  std::vector<std::uint32_t> words;  // that have or had it; perhaps several times, perhaps no longer
};

struct Candidate {
  std::int64_t count;
  Pair pair;
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

/// Words as symbols, and the counts of all neighbouring pairs kept true while they merge.
class Merger {
 public:
  Merger(const PieceCounts& pieces, const std::vector<TokenId>& id_of_byte) {
    for (const auto& [piece, count] : pieces.all()) {
      Word word{.symbols = {}, .count = count};
      for (const char c : piece) word.symbols.push_back(id_of_byte[static_cast<unsigned char>(c)]);
      words_.push_back(std::move(word));
    }
    for (std::uint32_t w = 0; w < words_.size(); ++w) {
      const std::vector<TokenId>& symbols = words_[w].symbols;
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        change(pair_of(symbols[i], symbols[i + 1]), words_[w].count, w);
      }
    }
    push_grown();
  }

  /// The most frequent pair; count 0 where there is none. It is no candidate any longer.
  Candidate take_best() {
    while (!candidates_.empty()) {
      Candidate best = candidates_.top();
      candidates_.pop();
      const std::int64_t count = pairs_[best.pair].count;
      if (count == best.count) return best;
      best.count = count;  // it lost some since it was pushed
      if (count > 0) candidates_.push(best);
    }
    return {0, 0};
  }

  /// Every `pair` becomes `merged`.
  void merge(Pair pair, TokenId merged) {
    const std::vector<std::uint32_t> words = std::move(pairs_[pair].words);
    pairs_[pair].words.clear();
    for (const std::uint32_t w : words) merge_word(w, pair, merged);
    push_grown();
  }

 private:
  void change(Pair pair, std::int64_t by, std::uint32_t word) {
    PairState& state = pairs_[pair];
    state.count += by;
    if (by <= 0) return;
    if (state.words.empty() || state.words.back() != word) state.words.push_back(word);
    grown_.push_back(pair);
  }

  void merge_word(std::uint32_t w, Pair pair, TokenId merged) {
    std::vector<TokenId>& symbols = words_[w].symbols;
    const std::int64_t count = words_[w].count;
    std::size_t out = 0;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      if (i + 1 == symbols.size() || pair_of(symbols[i], symbols[i + 1]) != pair) {
        symbols[out++] = symbols[i];
        continue;
      }
      const TokenId left = symbols[i], right = symbols[i + 1];
      change(pair, -count, w);
      if (out > 0) {
        change(pair_of(symbols[out - 1], left), -count, w);
        change(pair_of(symbols[out - 1], merged), count, w);
      }
      if (i + 2 < symbols.size()) {
        change(pair_of(right, symbols[i + 2]), -count, w);
        change(pair_of(merged, symbols[i + 2]), count, w);
      }
      symbols[out++] = merged;
      ++i;
    }
    symbols.resize(out);
  }

  void push_grown() {
    std::sort(grown_.begin(), grown_.end());
    grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
    for (const Pair pair : grown_) {
      if (const std::int64_t count = pairs_[pair].count; count > 0) candidates_.push({count, pair});
    }
    grown_.clear();
  }

  std::vector<Word> words_;
  std::unordered_map<Pair, PairState> pairs_;
  std::priority_queue<Candidate> candidates_;
  std::vector<Pair> grown_;  // since the last push
};

void check(const BpeTraining& options) {
  std::unordered_set<std::string> seen;
  for (const std::string& token : options.special) {
    if (token.empty()) fail("tokenizer", "a special token is empty");
    if (!seen.insert(token).second) fail("tokenizer", "special token " + printable(token) + " is given twice");
    if (valid_utf8_prefix(token) != token.size())
      fail("tokenizer", "special token " + printable(token) + " is no UTF-8");
  }
  const std::int64_t least = 256 + std::ssize(options.special);
  if (options.vocabulary < least) {
    fail("tokenizer", "vocabulary is " + std::to_string(options.vocabulary) + ", expected at least " +
                          std::to_string(least) + " (256 bytes and special tokens)");
  }
}

}  // namespace

PieceCounts::PieceCounts() {
  steps_.push_back(
      ByteLevelSplit{.add_prefix_space = false, .regex = Regex(kGpt2Pattern, "tokenizer"), .spell = false});
}

void PieceCounts::add(std::string_view text, const std::function<void(std::size_t bytes)>& done) {
  while (!text.empty()) {
    const std::string_view part = text.substr(0, part_end(text));
    text.remove_prefix(part.size());
    Pieces pieces;
    pieces.text = lossy_utf8(part);
    pieces.pieces = {{0, pieces.text.size(), true}};
    pre_tokenize(steps_, Deadline(part.size()), pieces);
    for (const Pieces::Piece& piece : pieces.pieces) ++counts_[std::string(pieces.view(piece))];
    if (done) done(part.size());
  }
}

TrainedBpe train_bpe(const PieceCounts& pieces, const BpeTraining& options, const std::function<void()>& merged) {
  check(options);
  TrainedBpe bpe{.special = options.special, .tokens = {}, .merges = {}};
  const ByteLevel& level = ByteLevel::get();
  const TokenId first = static_cast<TokenId>(options.special.size());
  std::vector<int> bytes(256);
  for (int byte = 0; byte < 256; ++byte) bytes[byte] = byte;
  std::sort(bytes.begin(), bytes.end(), [&](int a, int b) { return level.char_of[a] < level.char_of[b]; });
  std::vector<TokenId> id_of_byte(256);
  std::unordered_map<std::string, TokenId> ids;
  const auto add = [&](const std::string& token) {
    const auto [at, is_new] = ids.emplace(token, first + static_cast<TokenId>(bpe.tokens.size()));
    if (is_new) bpe.tokens.push_back(token);
    return at->second;
  };
  for (const int byte : bytes) id_of_byte[byte] = add(level.utf8_of[byte]);

  Merger merger(pieces, id_of_byte);
  std::unordered_set<Pair> known;
  const std::int64_t least = std::max<std::int64_t>(1, options.min_count);
  while (first + std::ssize(bpe.tokens) < options.vocabulary) {
    const Candidate best = merger.take_best();
    if (best.count < least) break;
    const std::string left = bpe.tokens[static_cast<std::size_t>((best.pair >> 32) - first)];
    const std::string right = bpe.tokens[static_cast<std::size_t>((best.pair & 0xFFFFFFFFu) - first)];
    // Two pairs may spell the same token, which then meets a neighbour with which it merged before.
    if (known.insert(best.pair).second) bpe.merges.emplace_back(left, right);
    merger.merge(best.pair, add(left + right));
    if (merged) merged();
  }
  return bpe;
}

std::string tokenizer_json(const TrainedBpe& bpe) {
  OrderedJson added = OrderedJson::array(), vocabulary = OrderedJson::object(), merges = OrderedJson::array();
  std::int64_t id = 0;
  for (const std::string& token : bpe.special) {
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
    vocabulary[token] = id++;
  }
  for (const std::string& token : bpe.tokens) vocabulary[token] = id++;
  for (const auto& [left, right] : bpe.merges) merges.push_back(left + " " + right);
  const OrderedJson byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  OrderedJson surround = nullptr;
  if (!bpe.special.empty()) {
    const std::string& first = bpe.special.front();
    const OrderedJson text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
    const OrderedJson second = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
    const OrderedJson begin = {{"SpecialToken", {{"id", first}, {"type_id", 0}}}};
    surround = {{"type", "TemplateProcessing"},
                {"single", OrderedJson::array({begin, text})},
                {"pair", OrderedJson::array({begin, text, second})},
                {"special_tokens", {{first, {{"id", first}, {"ids", {0}}, {"tokens", {first}}}}}}};
  }
  const OrderedJson out = {{"version", "1.0"},
                           {"truncation", nullptr},
                           {"padding", nullptr},
                           {"added_tokens", added},
                           {"normalizer", nullptr},
                           {"pre_tokenizer", byte_level},
                           {"post_processor", surround},
                           {"decoder", byte_level},
                           {"model",
                            {{"type", "BPE"},
                             {"dropout", nullptr},
                             {"unk_token", nullptr},
                             {"continuing_subword_prefix", nullptr},
                             {"end_of_word_suffix", nullptr},
                             {"fuse_unk", false},
                             {"byte_fallback", false},
                             {"ignore_merges", false},
                             {"vocab", vocabulary},
                             {"merges", merges}}}};
  return out.dump(1) + "\n";
}

}  // namespace junto::text
