#include "format/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "format/tokenizer/parts.h"

namespace junto {
namespace {

using namespace text;  // NOLINT: this file is that namespace's front

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

// One call of encode.
struct Encoder {
  const TokenizerParts& parts;
  bool plain;  // no control tokens out of text
  Deadline deadline;
  PieceCache cache{};
  std::vector<TokenId> out{};

  const std::vector<std::uint8_t>* forbidden() const { return plain ? &parts.special : nullptr; }

  void operator()(const Bpe& model, std::string_view piece) {
    const std::size_t before = out.size();
    model.encode(parts.vocabulary, piece, cache, out);
    if (plain) spell_out_control_tokens(model, before);
  }

  // Merges may lead to a control token ("<" "/s>"). In plain text it becomes the tokens of its first character and of
  // the rest. Where the ends of a piece are marked ("a</w>") those may be control tokens no shorter than it: they count
  // as characters without a token, so that this ends.
  void spell_out_control_tokens(const Bpe& model, std::size_t from) {
    const auto is_control = [&](TokenId id) {
      return id != model.options().unk && parts.special[static_cast<std::size_t>(id)] != 0;
    };
    if (std::none_of(out.begin() + static_cast<std::ptrdiff_t>(from), out.end(), is_control)) return;
    std::vector<TokenId> todo(out.rbegin(), out.rend() - static_cast<std::ptrdiff_t>(from));
    out.resize(from);
    while (!todo.empty()) {
      const TokenId id = todo.back();
      todo.pop_back();
      if (!is_control(id)) {
        out.push_back(id);
        continue;
      }
      std::string token(parts.vocabulary.token(id));
      if (model.options().raw_bytes) token = ByteLevel::get().decode(token).value_or(token);
      const std::size_t cut = model.options().raw_bytes ? 1 : utf8_size(token[0]);
      if (cut >= token.size()) continue;
      std::vector<TokenId> spelled;
      model.encode(parts.vocabulary, std::string_view(token).substr(0, cut), cache, spelled);
      model.encode(parts.vocabulary, std::string_view(token).substr(cut), cache, spelled);
      for (TokenId& part : spelled) {
        if (is_control(part) && parts.vocabulary.token(part).size() >= parts.vocabulary.token(id).size())
          part = model.options().unk;
      }
      std::erase(spelled, kNoToken);
      todo.insert(todo.end(), spelled.rbegin(), spelled.rend());
    }
  }

  void operator()(const SentencePieceBpe& model, std::string_view piece) {
    model.encode(parts.vocabulary, piece, forbidden(), cache, out);
  }
  void operator()(const Unigram& model, std::string_view piece) {
    model.encode(parts.vocabulary, piece, forbidden(), parts.where, cache, out);
  }
  void operator()(const WordPiece& model, std::string_view piece) { model.encode(piece, forbidden(), out); }
  void operator()(const WordLevel& model, std::string_view piece) {
    TokenId id = parts.vocabulary.find(piece);
    if (id != kNoToken && plain && parts.special[static_cast<std::size_t>(id)] != 0) id = kNoToken;
    if (id == kNoToken) id = model.unk;
    if (id != kNoToken) out.push_back(id);
  }

  // A stretch of normalised text without added tokens.
  void stretch(std::string_view text, bool at_start) {
    junto::text::Pieces pieces{std::string(text), {{0, text.size(), at_start}}};
    pre_tokenize(parts.pre_tokenizer, deadline, pieces);
    std::visit(
        [&](const auto& model) {
          for (const auto& piece : pieces.pieces) (*this)(model, pieces.view(piece));
        },
        parts.model);
  }

  void run(std::string_view text) {
    for (const auto& part : parts.raw_matcher.split(text, plain)) {
      if (part.id != kNoToken) {
        out.push_back(part.id);
        continue;
      }
      std::string raw(parts.space_before_text ? 1 : 0, ' ');
      raw += part.text;
      bool lost_start = false;
      const std::string normal = normalize(parts.normalizer, std::move(raw), deadline, parts.where, &lost_start);
      for (const auto& inner : parts.normalized_matcher.split(normal, plain)) {
        if (inner.id != kNoToken)
          out.push_back(inner.id);
        else
          stretch(inner.text, part.at_start && inner.at_start && !lost_start);
      }
    }
  }
};

std::vector<TokenId> encode_text(const TokenizerParts& parts, std::string_view text, bool plain) {
  if (text.size() > kMaxTextBytes) {
    fail(parts.where,
         "text has " + std::to_string(text.size()) + " bytes, expected at most " + std::to_string(kMaxTextBytes));
  }
  Encoder encoder{parts, plain, Deadline(text.size())};
  if (valid_utf8_prefix(text) == text.size())
    encoder.run(text);
  else
    encoder.run(lossy_utf8(text));
  return std::move(encoder.out);
}

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const TokenizerParts> parts) : parts_(std::move(parts)) {}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<TokenId> ids = encode_text(*parts_, text, false);
  if (!add_special) return ids;
  ids.insert(ids.begin(), parts_->prefix.begin(), parts_->prefix.end());
  ids.insert(ids.end(), parts_->suffix.begin(), parts_->suffix.end());
  return ids;
}

std::vector<std::int32_t> Tokenizer::encode_plain(std::string_view text) const {
  return encode_text(*parts_, text, true);
}

// What a token is to the decoder. Only for ids that have a token.
static std::string_view decoder_input(const TokenizerParts& parts, TokenId id) {
  if (parts.normalized_added.contains(id)) return parts.normalized_added.token(id);
  if (parts.added_vocabulary.contains(id)) return parts.added_vocabulary.token(id);
  return parts.vocabulary.token(id);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  for (const TokenId id : ids) {
    if (skip_special && is_special(id)) continue;
    if (!parts_->added_vocabulary.contains(id) && !parts_->vocabulary.contains(id)) continue;
    tokens.emplace_back(decoder_input(*parts_, id));
  }
  return decode_tokens(parts_->decoder, std::move(tokens));
}

std::string Tokenizer::token_bytes(std::int32_t id) const {
  if (!parts_->added_vocabulary.contains(id) && !parts_->vocabulary.contains(id)) return "";
  return decode_bytes(parts_->decoder, std::string(decoder_input(*parts_, id)));
}

std::int64_t Tokenizer::vocab_size() const {
  return std::max(parts_->vocabulary.size(), parts_->added_vocabulary.size());
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  TokenId id = parts_->added_vocabulary.find(token);
  if (id == kNoToken) id = parts_->vocabulary.find(token);
  return id == kNoToken ? std::nullopt : std::optional(id);
}

std::string_view Tokenizer::token(std::int32_t id) const {
  return parts_->added_vocabulary.contains(id) ? parts_->added_vocabulary.token(id) : parts_->vocabulary.token(id);
}

bool Tokenizer::is_special(std::int32_t id) const {
  return id >= 0 && static_cast<std::size_t>(id) < parts_->special.size() &&
         parts_->special[static_cast<std::size_t>(id)] != 0;
}

std::optional<std::int32_t> Tokenizer::bos_id() const {
  return parts_->bos;
}
std::optional<std::int32_t> Tokenizer::eos_id() const {
  return parts_->eos;
}
std::optional<std::int32_t> Tokenizer::unk_id() const {
  return parts_->unk;
}
std::optional<std::int32_t> Tokenizer::pad_id() const {
  return parts_->pad;
}
bool Tokenizer::add_bos() const {
  return parts_->add_bos;
}
bool Tokenizer::add_eos() const {
  return parts_->add_eos;
}
const std::vector<std::int32_t>& Tokenizer::end_of_generation() const {
  return parts_->end_of_generation;
}
bool Tokenizer::is_end_of_generation(std::int32_t id) const {
  return std::binary_search(parts_->end_of_generation.begin(), parts_->end_of_generation.end(), id);
}

}  // namespace junto
