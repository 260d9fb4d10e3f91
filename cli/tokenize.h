// junto tokenize: text to token ids and back.
#pragma once

#include <iosfwd>
#include <string>

#include "format/tokenizer.h"

namespace junto {

struct TokenizeOptions {
  std::string path = {};  // model (GGUF file or directory) or tokenizer.json
  bool special = false;   // with what the model puts around every text
  bool decode = false;    // ids to text; control tokens are written out
  bool jsonl = false;     // one JSON value a line: strings in and id arrays out, or the other way round
};

/// The tokenizer of a model (with its tokenizer_config.json, which may add a BOS), or a tokenizer.json as it stands.
/// Throws Error naming the file.
Tokenizer open_tokenizer(const std::string& path);

/// Reads `in`, writes `out`, returns the exit status. Without `jsonl` the whole of `in` is one text and the ids come
/// out as one JSON array (decoding: one array in, the text out as it is). Throws Error "standard input: line 3 ..." for
/// a line that is not what it should be; the lines before it are written.
int run_tokenize(const TokenizeOptions& options, std::istream& in, std::ostream& out);
/// The same with a tokenizer that is there already.
int run_tokenize(const TokenizeOptions& options, const Tokenizer& tokenizer, std::istream& in, std::ostream& out);

}  // namespace junto
