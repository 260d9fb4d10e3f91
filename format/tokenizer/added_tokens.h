// Tokens that are recognised as they stand in a text, before the model sees it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "format/tokenizer/vocabulary.h"

namespace junto::text {

struct AddedToken {
  TokenId id = kNoToken;
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes white space on its left, on its right with it
  bool rstrip = false;
  bool normalized = false;  // looked for in the normalised text, in normalised form
  bool special = false;     // a control token
};

/// Finds one kind of added tokens (normalised or not) in a text: leftmost, then longest.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  /// `patterns[i]` is what to look for in the text for `tokens[i]`; of equal patterns the first holds.
  AddedTokenMatcher(std::vector<AddedToken> tokens, const std::vector<std::string>& patterns);

  struct Part {
    std::string_view text;
    TokenId id = kNoToken;  // kNoToken: text between tokens
    bool at_start = false;  // begins where `text` begins
  };
  /// `text` in parts, none empty. With `plain`, special tokens are text.
  std::vector<Part> split(std::string_view text, bool plain) const;

 private:
  std::vector<AddedToken> tokens_;
  ByteTrie trie_;  // values are indexes of tokens_
};

}  // namespace junto::text
