// tokenizer.json, the format of Hugging Face's tokenizers.
#include <algorithm>
#include <map>

#include "base/error.h"
#include "format/tokenizer.h"
#include "format/tokenizer/load_components.h"
#include "format/tokenizer/parts.h"

namespace junto {
namespace text {
namespace {

constexpr std::int64_t kMaxId = (std::int64_t{1} << 31) - 2;
constexpr std::int64_t kMaxGaps = 1 << 18;  // ids without a token below the highest: memory for nothing
constexpr std::size_t kMaxAddedTokenBytes = 1024;

void check_gaps(std::int64_t highest, std::size_t tokens, std::string_view where) {
  if (highest >= static_cast<std::int64_t>(tokens) + kMaxGaps) {
    fail(where, "vocabulary has the id " + std::to_string(highest) + ", expected less than " +
                    std::to_string(static_cast<std::int64_t>(tokens) + kMaxGaps) + " for " + std::to_string(tokens) +
                    " tokens");
  }
}

// {"token": id, ...}
void load_vocab_object(const Field& vocab, Vocabulary& vocabulary) {
  std::int64_t highest = -1;
  std::vector<std::pair<std::int64_t, std::string_view>> tokens;
  tokens.reserve(vocab.object().size());
  for (const auto& [token, id] : vocab.json.items()) {
    if (!id.is_number_integer() || id < 0 || id > kMaxId) {
      Field{id, vocab.where, vocab.path + "[\"" + printable(token) + "\"]"}.refuse("an id");
    }
    const auto value = id.get<std::int64_t>();
    tokens.emplace_back(value, token);
    highest = std::max(highest, value);
  }
  check_gaps(highest, tokens.size(), vocab.where);
  for (const auto& [id, token] : tokens) vocabulary.add(static_cast<TokenId>(id), token);
}

std::vector<std::pair<std::string, std::string>> load_merges(const Field& merges) {
  std::vector<std::pair<std::string, std::string>> out;
  out.reserve(merges.array().size());
  for (std::size_t i = 0; i < merges.json.size(); ++i) {
    const Json& merge = merges.json[i];
    if (merge.is_string()) {
      const std::string_view text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        merges.item(i).refuse("two tokens with a space between them");
      }
      out.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      out.emplace_back(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
    } else {
      merges.item(i).refuse("two tokens");
    }
  }
  return out;
}

// The id of the token that `key` names, or kNoToken.
TokenId named_token(const Field& model, std::string_view key, const Vocabulary& vocabulary) {
  return model.has(key) ? vocabulary.find(model.at(key).string()) : kNoToken;
}

TokenModel load_bpe(const Field& model, TokenizerParts& parts) {
  load_vocab_object(model.at("vocab"), parts.vocabulary);
  if (model.has("dropout") && model.at("dropout").finite() != 0) model.at("dropout").refuse("null: it is for training");
  BpeOptions options;
  options.unk = named_token(model, "unk_token", parts.vocabulary);
  options.fuse_unk = model.boolean_or("fuse_unk", false);
  options.byte_fallback = model.boolean_or("byte_fallback", false);
  options.ignore_merges = model.boolean_or("ignore_merges", false);
  options.continuing_prefix = model.string_or("continuing_subword_prefix", "");
  options.end_suffix = model.string_or("end_of_word_suffix", "");
  // A ByteLevel in last place only spells bytes for the vocabulary's sake; the model can take them as they are.
  // (Without a token for each byte, it would also have to fall back to bytes of the spelling.)
  const auto& spelling = ByteLevel::get().utf8_of;
  const bool falls_back =
      options.byte_fallback && std::any_of(std::begin(spelling), std::end(spelling),
                                           [&](const auto& c) { return parts.vocabulary.find(c) == kNoToken; });
  if (!parts.pre_tokenizer.empty() && options.continuing_prefix.empty() && options.end_suffix.empty() && !falls_back) {
    if (auto* last = std::get_if<ByteLevelSplit>(&parts.pre_tokenizer.back())) {
      last->spell = false;
      options.raw_bytes = true;
    }
  }
  if (options.unk != kNoToken) parts.unk = options.unk;
  return Bpe(parts.vocabulary, load_merges(model.at("merges")), options, model.where);
}

TokenModel load_unigram(const Field& model, TokenizerParts& parts) {
  const Field vocab = model.at("vocab");
  std::vector<double> scores;
  for (std::size_t i = 0; i < vocab.array().size(); ++i) {
    const Field entry = vocab.item(i);
    if (entry.array().size() != 2) entry.refuse("a token and its score");
    parts.vocabulary.add(static_cast<TokenId>(i), entry.item(0).string());
    scores.push_back(entry.item(1).finite());
  }
  TokenId unk = kNoToken;
  if (model.has("unk_id")) {
    unk = static_cast<TokenId>(model.at("unk_id").integer(0, static_cast<std::int64_t>(scores.size()) - 1));
    parts.unk = unk;
  }
  return Unigram(parts.vocabulary, std::move(scores), unk, model.boolean_or("byte_fallback", false));
}

TokenModel load_word_piece(const Field& model, TokenizerParts& parts) {
  load_vocab_object(model.at("vocab"), parts.vocabulary);
  const TokenId unk = parts.vocabulary.find(model.string_or("unk_token", "[UNK]"));
  if (unk == kNoToken) fail(model.where, "model.unk_token is not in the vocabulary");
  parts.unk = unk;
  const auto max_chars = model.has("max_input_chars_per_word")
                             ? model.at("max_input_chars_per_word").integer(0, 1 << 30)
                             : std::int64_t{100};
  return WordPiece(parts.vocabulary, model.string_or("continuing_subword_prefix", "##"),
                   static_cast<std::size_t>(max_chars), unk);
}

TokenModel load_word_level(const Field& model, TokenizerParts& parts) {
  load_vocab_object(model.at("vocab"), parts.vocabulary);
  const TokenId unk = named_token(model, "unk_token", parts.vocabulary);
  if (unk != kNoToken) parts.unk = unk;
  return WordLevel{unk};
}

TokenModel load_model(const Field& model, TokenizerParts& parts) {
  std::string type = model.string_or("type", "");
  if (type.empty()) {  // files from before the field
    type = model.has("merges")                                       ? "BPE"
           : model.has("vocab") && model.at("vocab").json.is_array() ? "Unigram"
           : model.has("max_input_chars_per_word")                   ? "WordPiece"
                                                                     : "WordLevel";
  }
  if (type == "BPE") return load_bpe(model, parts);
  if (type == "Unigram") return load_unigram(model, parts);
  if (type == "WordPiece") return load_word_piece(model, parts);
  if (type == "WordLevel") return load_word_level(model, parts);
  model.at("type").refuse("BPE, Unigram, WordPiece or WordLevel");
}

void load_added_tokens(const Field& list, TokenizerParts& parts) {
  std::int64_t highest = -1;
  for (std::size_t i = 0; i < list.array().size(); ++i) {
    const Field entry = list.item(i);
    AddedToken token;
    token.content = entry.at("content").string();
    if (token.content.empty()) continue;
    if (token.content.size() > kMaxAddedTokenBytes) {
      fail(list.where, entry.path + ".content has " + std::to_string(token.content.size()) +
                           " bytes, expected at most " + std::to_string(kMaxAddedTokenBytes));
    }
    // The model's own id holds where it has the token.
    token.id = static_cast<TokenId>(entry.at("id").integer(0, kMaxId));
    if (const TokenId known = parts.vocabulary.find(token.content); known != kNoToken) token.id = known;
    token.single_word = entry.boolean_or("single_word", false);
    token.lstrip = entry.boolean_or("lstrip", false);
    token.rstrip = entry.boolean_or("rstrip", false);
    token.special = entry.boolean_or("special", false);
    token.normalized = entry.boolean_or("normalized", !token.special);
    highest = std::max<std::int64_t>(highest, token.id);
    parts.added_tokens.push_back(std::move(token));
  }
  check_gaps(highest, parts.added_tokens.size() + static_cast<std::size_t>(parts.vocabulary.size()), list.where);
}

// One piece of a template: "$A" or a special token's name.
void template_piece(const Field& piece, const Field& processor, bool& seen, std::vector<TokenId>& before,
                    std::vector<TokenId>& after) {
  std::string name;
  if (piece.json.is_string()) {
    name = piece.string();
    if (const std::size_t colon = name.rfind(':'); colon != std::string::npos && !name.empty()) name.resize(colon);
  } else if (piece.has("Sequence")) {
    name = "$" + piece.at("Sequence").string_or("id", "A");
  } else {
    name = piece.at("SpecialToken").at("id").string();
  }
  if (name.starts_with('$')) {
    if (seen || name == "$B" || name == "$b") piece.refuse("the text ($A) once");
    seen = true;
    return;
  }
  const Field ids = processor.at("special_tokens").at(name).at("ids");
  for (std::size_t i = 0; i < ids.array().size(); ++i) {
    (seen ? after : before).push_back(static_cast<TokenId>(ids.item(i).integer(0, kMaxId)));
  }
}

void load_post_processor(const Field& field, TokenizerParts& parts) {
  const std::string type = field.at("type").string();
  std::vector<TokenId> before, after;
  if (type == "Sequence") {
    const Field list = field.at("processors");
    for (std::size_t i = 0; i < list.array().size(); ++i) load_post_processor(list.item(i), parts);
    return;
  }
  if (type == "ByteLevel") return;  // concerns offsets, which Junto has none of
  if (type == "TemplateProcessing") {
    bool seen = false;
    const Field single = field.at("single");
    for (std::size_t i = 0; i < single.array().size(); ++i) {
      template_piece(single.item(i), field, seen, before, after);
    }
    if (!seen) single.refuse("the text ($A) once");
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto id = [&](std::string_view key) {
      const Field pair = field.at(key);
      if (pair.array().size() != 2) pair.refuse("a token and its id");
      return static_cast<TokenId>(pair.item(1).integer(0, kMaxId));
    };
    before = {id("cls")};
    after = {id("sep")};
  } else {
    field.at("type").refuse("a post-processor that Junto has");
  }
  // A second one would see the special tokens of the first as texts of their own.
  if (!parts.prefix.empty() || !parts.suffix.empty()) field.refuse("one post-processor that adds tokens");
  parts.prefix.insert(parts.prefix.begin(), before.begin(), before.end());
  parts.suffix.insert(parts.suffix.end(), after.begin(), after.end());
}

// tokenizer_config.json: which tokens are BOS and EOS, and whether they are added.
struct Config {
  const Json& json;
  // "bos_token": "<s>" or {"content": "<s>", ...}
  std::optional<TokenId> token(std::string_view key, const TokenizerParts& parts) const {
    if (!json.is_object()) return std::nullopt;
    const auto found = json.find(key);
    if (found == json.end()) return std::nullopt;
    const Json* value = &*found;
    if (value->is_object() && value->contains("content")) value = &(*value)["content"];
    if (!value->is_string()) return std::nullopt;
    const std::string& name = value->get_ref<const std::string&>();
    for (const AddedToken& added : parts.added_tokens) {
      if (added.content == name) return added.id;
    }
    const TokenId id = parts.vocabulary.find(name);
    return id == kNoToken ? std::nullopt : std::optional(id);
  }
  std::optional<bool> flag(std::string_view key) const {
    if (!json.is_object()) return std::nullopt;
    const auto found = json.find(key);
    return found != json.end() && found->is_boolean() ? std::optional(found->get<bool>()) : std::nullopt;
  }
};

void load_special_tokens(const Config& config, TokenizerParts& parts) {
  parts.bos = config.token("bos_token", parts);
  parts.eos = config.token("eos_token", parts);
  parts.pad = config.token("pad_token", parts);
  if (const auto unk = config.token("unk_token", parts)) parts.unk = unk;
  // Where the configuration says nothing, what stands around every text is BOS and EOS.
  if (!parts.bos && !parts.prefix.empty()) parts.bos = parts.prefix.front();
  if (!parts.eos && !parts.suffix.empty()) parts.eos = parts.suffix.back();
  if (config.flag("add_bos_token").value_or(false) && parts.bos && parts.prefix.empty()) parts.prefix = {*parts.bos};
  if (config.flag("add_eos_token").value_or(false) && parts.eos && parts.suffix.empty()) parts.suffix = {*parts.eos};
}

}  // namespace
}  // namespace text

Tokenizer load_tokenizer_json(std::string_view json_text, std::string_view where, const Json& tokenizer_config) {
  using namespace text;  // NOLINT
  const Json json = parse_json(json_text, where);
  const Field file{json, where, ""};
  auto parts = std::make_shared<TokenizerParts>();
  parts->where = where;
  if (file.has("normalizer")) load_normalizer(file.at("normalizer"), parts->normalizer);
  if (file.has("pre_tokenizer")) load_pre_tokenizer(file.at("pre_tokenizer"), parts->pre_tokenizer);
  parts->model = load_model(file.at("model"), *parts);
  if (file.has("added_tokens")) load_added_tokens(file.at("added_tokens"), *parts);
  if (file.has("post_processor")) load_post_processor(file.at("post_processor"), *parts);
  if (file.has("decoder")) {
    load_decoder(file.at("decoder"), parts->decoder);
    if (parts->decoder.empty()) parts->decoder.emplace_back(DecodeFuse{});  // no steps, but no spaces either
  }
  load_special_tokens(Config{tokenizer_config}, *parts);
  finish(*parts);
  return Tokenizer(parts);
}

}  // namespace junto
