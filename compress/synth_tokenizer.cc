#include "compress/synth_tokenizer.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

constexpr std::int64_t kSpecialTokens = 3;
constexpr std::int32_t kNormal = 1, kControl = 3;

// GPT-2 spells bytes as printable characters: those that are printable in Latin-1 as themselves, the others, in order,
// as U+0100 and on.
std::string spell_byte(int byte) {
  static const std::vector<int> characters = [] {
    std::vector<int> out(256);
    int next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      out[b] = printable ? b : next++;
    }
    return out;
  }();
  const int c = characters[byte];
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

class Builder {
 public:
  explicit Builder(std::int64_t tokens) : wanted_(tokens) {
    for (int byte = 0; byte < 256; ++byte) add(spell_byte(byte));
  }

  bool full() const { return static_cast<std::int64_t>(data.tokens.size()) == wanted_; }

  /// The token left + right, whose halves are tokens already; nothing where it exists or there is no room.
  void merge(const std::string& left, const std::string& right) {
    if (full() || known_.contains(left + right)) return;
    data.merges.push_back(left + " " + right);
    add(left + right);
  }

  GgufTokenizerData data;

 private:
  void add(const std::string& token) {
    known_.insert(token);
    data.tokens.push_back(token);
    data.types.push_back(kNormal);
  }

  std::int64_t wanted_;
  std::unordered_set<std::string> known_;
};

// A word, letter by letter, with the space before it.
void add_word(Builder& builder, const std::string& word) {
  std::string token = spell_byte(' ');
  for (const char letter : word) {
    builder.merge(token, std::string(1, letter));
    token += letter;
  }
}

}  // namespace

GgufTokenizerData synthetic_tokenizer(std::int64_t vocab_size) {
  if (vocab_size < 256 + kSpecialTokens + 1) {
    fail("tokenizer", "vocabulary is " + std::to_string(vocab_size) + ", expected at least 260");
  }
  static const char* const kWords[] = {
      "the",   "of",     "and",   "to",     "in",    "is",    "that",   "it",    "was",   "for",   "on",   "are",
      "as",    "with",   "his",   "they",   "at",    "be",    "this",   "have",  "from",  "or",    "one",  "had",
      "by",    "but",    "not",   "what",   "all",   "were",  "we",     "when",  "your",  "can",   "said", "there",
      "each",  "which",  "she",   "how",    "their", "will",  "other",  "about", "out",   "many",  "then", "them",
      "these", "some",   "her",   "would",  "make",  "like",  "him",    "into",  "time",  "has",   "look", "two",
      "more",  "write",  "see",   "number", "way",   "could", "people", "than",  "first", "water", "been", "call",
      "who",   "its",    "now",   "find",   "long",  "down",  "day",    "did",   "get",   "come",  "made", "may",
      "part",  "expert", "token", "router", "model"};
  const std::string letters = "etaoinshrdlucmfwypvbgkjqxz";  // by frequency in English
  Builder builder(vocab_size - kSpecialTokens);
  for (const char* word : kWords) add_word(builder, word);
  // Pairs of letters, then pairs of pairs: more than any vocabulary needs.
  std::vector<std::string> pairs;
  for (const char a : letters) {
    for (const char b : letters) {
      pairs.push_back({a, b});
      builder.merge(std::string(1, a), std::string(1, b));
    }
  }
  for (const std::string& pair : pairs) builder.merge(spell_byte(' '), pair);
  for (std::size_t i = 0; i < pairs.size() && !builder.full(); ++i) {
    for (const std::string& pair : pairs) builder.merge(pairs[i], pair);
  }
  if (!builder.full()) fail("tokenizer", "vocabulary is " + std::to_string(vocab_size) + ", expected at most 450000");

  GgufTokenizerData data = std::move(builder.data);
  data.model = "gpt2";
  data.pre = "gpt-2";
  for (const char* special : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
    data.tokens.push_back(special);
    data.types.push_back(kControl);
  }
  const auto last = static_cast<std::int32_t>(vocab_size - 1);
  data.bos_id = last - 2;
  data.pad_id = last - 2;
  data.eos_id = last;
  data.add_bos = false;
  return data;
}

GgufTokenizerData byte_tokenizer() {
  GgufTokenizerData data = std::move(Builder(256).data);
  data.model = "gpt2";
  data.pre = "gpt-2";
  data.tokens.emplace_back("<|endoftext|>");
  data.types.push_back(kControl);
  data.bos_id = data.eos_id = data.pad_id = 256;
  data.add_bos = true;
  return data;
}

}  // namespace junto
