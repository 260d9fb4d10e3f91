// Text to token ids and back, as the model's own tokenizer does it: tokenizer.json (Hugging Face) or GGUF metadata.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace junto {

class Metadata;

namespace text {
struct TokenizerParts;
}

/// What GGUF stores of a tokenizer, under llama.cpp's keys (`tokenizer.ggml.*`). Token types: 1 normal, 2 unknown,
/// 3 control, 4 user-defined, 5 unused, 6 byte.
struct GgufTokenizerData {
  std::string model;                   // "gpt2" (byte-level BPE), "llama" (SentencePiece BPE by score), "t5" (unigram)
  std::string pre;                     // name of the pre-tokenizer; only for "gpt2"
  std::vector<std::string> tokens;     // [V]
  std::vector<std::string> merges;     // "left right", best first
  std::vector<float> scores;           // [V] or empty
  std::vector<std::int32_t> types;     // [V] or empty: all normal
  std::vector<std::uint8_t> charsmap;  // precompiled_charsmap of "t5"
  std::optional<std::int32_t> bos_id, eos_id, eot_id, eom_id, unk_id, sep_id, pad_id, mask_id;
  std::optional<bool> add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces;
  std::string normalizer;        // junto.tokenizer.normalizer: "NFC"...; others take the text as it is
  std::string huggingface_json;  // tokenizer.huggingface.json: read where `pre` is "junto-huggingface-json"
};

/// An immutable tokenizer. Copies share it; every call may run at once from any number of threads.
class Tokenizer {
 public:
  explicit Tokenizer(std::shared_ptr<const text::TokenizerParts> parts);

  /// Token ids of `text`. Added tokens written out in the text (<|im_end|>) are recognised. With `add_special`, what
  /// the model puts around every text (BOS, EOS) is added. Bytes that are not UTF-8 are read as U+FFFD, one for each
  /// maximal ill-formed part. Throws Error where the tokenizer has no token for a character, or where a pattern of
  /// the tokenizer exceeds its match limit.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special) const;

  /// The same without special tokens, and control tokens in the text are plain characters: for text that nobody
  /// vouches for. No id of a control token is ever in the result.
  std::vector<std::int32_t> encode_plain(std::string_view text) const;

  /// The text of `ids`, always valid UTF-8. Ids without a token are passed over, control tokens too with
  /// `skip_special`.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const;

  /// The bytes that a token adds in the middle of a stream: perhaps part of a UTF-8 character, empty for ids without
  /// a token. Streams join these and hold back an unfinished character.
  std::string token_bytes(std::int32_t id) const;

  /// Highest id + 1; there may be ids without a token below it.
  std::int64_t vocab_size() const;
  std::optional<std::int32_t> id_of(std::string_view token) const;
  /// The token as the vocabulary writes it ("Ġthe", "▁the", "<0x0A>"); empty where there is none.
  std::string_view token(std::int32_t id) const;
  /// A control token: never text, and left out by decode(..., skip_special).
  bool is_special(std::int32_t id) const;

  std::optional<std::int32_t> bos_id() const;
  std::optional<std::int32_t> eos_id() const;
  std::optional<std::int32_t> unk_id() const;
  std::optional<std::int32_t> pad_id() const;
  /// Whether encode(..., add_special = true) puts BOS first, EOS last.
  bool add_bos() const;
  bool add_eos() const;
  /// Every id that ends an answer, ascending: EOS, end of turn, end of message, by declaration and by well-known name.
  const std::vector<std::int32_t>& end_of_generation() const;
  bool is_end_of_generation(std::int32_t id) const;

  const text::TokenizerParts& parts() const { return *parts_; }

 private:
  std::shared_ptr<const text::TokenizerParts> parts_;
};

/// A tokenizer from the text of a tokenizer.json. `tokenizer_config` (tokenizer_config.json, may be null) names BOS and
/// EOS. Throws Error "`where`: ..." for a component that Junto does not have, by its name, and for damaged files.
Tokenizer load_tokenizer_json(std::string_view json_text, std::string_view where, const Json& tokenizer_config = {});

/// A tokenizer from GGUF metadata. Unknown `model` or `pre`: refused by name.
Tokenizer load_tokenizer_gguf(const GgufTokenizerData& data, std::string_view where);
/// The same from a file's metadata.
Tokenizer load_tokenizer_gguf(const Metadata& metadata);

/// The tokenizer keys of a file's metadata; Error where tokenizer.ggml.model is missing or a key has the wrong type.
GgufTokenizerData gguf_tokenizer_data(const Metadata& metadata);
/// Sets the tokenizer keys of `metadata` from `data`.
void store_tokenizer(const GgufTokenizerData& data, Metadata& metadata);

/// A tokenizer as GGUF keys, so that llama.cpp and Junto give the same ids with it: "llama" for SentencePiece-style
/// BPE, "gpt2" with the pre-tokenizer's name for byte-level BPE. `rows` is the number of rows of the embedding: ids
/// without a token up to it are named [PAD<id>], as llama.cpp expects. A tokenizer that no name describes takes the
/// whole `huggingface_json` with it (others will refuse the file); Error where that is empty.
GgufTokenizerData gguf_tokenizer_data(const Tokenizer& tokenizer, std::int64_t rows, std::string_view huggingface_json);

}  // namespace junto
