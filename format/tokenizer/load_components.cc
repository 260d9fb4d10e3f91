#include "format/tokenizer/load_components.h"

#include "base/error.h"

namespace junto::text {
namespace {

constexpr std::size_t kMaxContentBytes = 4096;  // of a text that a normalizer puts in

std::string content(const Field& field) {
  const std::string& text = field.string();
  if (text.size() > kMaxContentBytes) {
    fail(field.where, field.path + " has " + std::to_string(text.size()) + " bytes, expected at most " +
                          std::to_string(kMaxContentBytes));
  }
  return text;
}

// {"String": "..."} or {"Regex": "..."}
struct Pattern {
  std::optional<Regex> regex;
  std::string literal;
};

Pattern pattern(const Field& field) {
  if (field.has("Regex")) return {Regex(field.at("Regex").string(), field.where), ""};
  const Field text = field.at("String");
  if (text.string().empty()) text.refuse("a string that is not empty");
  return {std::nullopt, text.string()};
}

SplitBehavior behavior(const Field& field, std::string_view key, std::string_view otherwise) {
  const std::string name = field.string_or(key, otherwise);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  field.at(key).refuse("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

PreTokenizerStep metaspace(const Field& field) {
  Metaspace step;
  step.replacement = content(field.at("replacement"));
  if (step.replacement.empty()) field.at("replacement").refuse("one character");
  const std::string scheme = field.string_or("prepend_scheme", "always");
  if (scheme == "always")
    step.prepend = Metaspace::Prepend::kAlways;
  else if (scheme == "first")
    step.prepend = Metaspace::Prepend::kFirst;
  else if (scheme == "never")
    step.prepend = Metaspace::Prepend::kNever;
  else
    field.at("prepend_scheme").refuse("always, first or never");
  if (!field.boolean_or("add_prefix_space", true)) step.prepend = Metaspace::Prepend::kNever;  // the older spelling
  step.split = field.boolean_or("split", true);
  return step;
}

std::string type_of(const Field& field) {
  return field.at("type").string();
}

void for_each_item(const Field& list, auto&& use) {
  for (std::size_t i = 0; i < list.array().size(); ++i) use(list.item(i));
}

}  // namespace

void load_normalizer(const Field& field, std::vector<NormalizerStep>& steps) {
  const std::string type = type_of(field);
  if (type == "Sequence") {
    for_each_item(field.at("normalizers"), [&](const Field& item) { load_normalizer(item, steps); });
  } else if (const auto form = normal_form_of(type)) {
    steps.emplace_back(*form);
  } else if (type == "Lowercase") {
    steps.emplace_back(LowerCase{});
  } else if (type == "Strip") {
    steps.emplace_back(Strip{field.boolean_or("strip_left", true), field.boolean_or("strip_right", true)});
  } else if (type == "StripAccents") {
    steps.emplace_back(StripAccents{});
  } else if (type == "Nmt") {
    steps.emplace_back(Nmt{});
  } else if (type == "ByteLevel") {
    steps.emplace_back(ByteLevelChars{});
  } else if (type == "Prepend") {
    steps.emplace_back(Prepend{content(field.at("prepend"))});
  } else if (type == "Replace") {
    Pattern what = pattern(field.at("pattern"));
    steps.emplace_back(Replace{std::move(what.regex), std::move(what.literal), content(field.at("content"))});
  } else if (type == "Precompiled") {
    if (!field.has("precompiled_charsmap")) return;  // SentencePiece's identity rule
    const std::string blob = decode_base64(field.at("precompiled_charsmap").string(), field.where);
    if (!blob.empty()) steps.emplace_back(Charsmap(blob, field.where));
  } else if (type == "BertNormalizer") {
    const bool lowercase = field.boolean_or("lowercase", true);
    steps.emplace_back(BertClean{field.boolean_or("clean_text", true), field.boolean_or("handle_chinese_chars", true),
                                 field.boolean_or("strip_accents", lowercase), lowercase});
  } else {
    field.at("type").refuse("a normalizer that Junto has");
  }
}

void load_pre_tokenizer(const Field& field, std::vector<PreTokenizerStep>& steps) {
  const std::string type = type_of(field);
  const auto split = [&](SplitPattern what, SplitBehavior how, bool invert = false) {
    steps.emplace_back(Split{std::move(what), how, invert});
  };
  if (type == "Sequence") {
    for_each_item(field.at("pretokenizers"), [&](const Field& item) { load_pre_tokenizer(item, steps); });
  } else if (type == "Split") {
    Pattern what = pattern(field.at("pattern"));
    SplitPattern one = what.regex ? SplitPattern(std::move(*what.regex)) : SplitPattern(std::move(what.literal));
    split(std::move(one), behavior(field, "behavior", "Isolated"), field.boolean_or("invert", false));
  } else if (type == "ByteLevel") {
    ByteLevelSplit step{field.boolean_or("add_prefix_space", true), std::nullopt};
    if (field.boolean_or("use_regex", true)) step.regex = Regex(kGpt2Pattern, field.where);
    steps.emplace_back(std::move(step));
  } else if (type == "Metaspace") {
    steps.push_back(metaspace(field));
  } else if (type == "Digits") {
    const bool individual = field.boolean_or("individual_digits", false);
    split(AnyOf{kNumber}, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  } else if (type == "Punctuation") {
    split(AnyOf{kPunctuation, true}, behavior(field, "behavior", "Isolated"));
  } else if (type == "Whitespace") {
    split(Regex(R"([\w\u200C\u200D]+|[^\w\u200C\u200D\s]+)", field.where), SplitBehavior::kRemoved, true);
  } else if (type == "WhitespaceSplit") {
    split(AnyOf{kSpace}, SplitBehavior::kRemoved);
  } else if (type == "BertPreTokenizer") {
    split(AnyOf{kSpace}, SplitBehavior::kRemoved);
    split(AnyOf{kPunctuation, true}, SplitBehavior::kIsolated);
  } else if (type == "CharDelimiterSplit" || type == "Delimiter") {
    split(content(field.at("delimiter")), SplitBehavior::kRemoved);
  } else if (type == "FixedLength") {
    steps.emplace_back(FixedLength{static_cast<std::size_t>(field.at("length").integer(1, 1 << 30))});
  } else {
    field.at("type").refuse("a pre-tokenizer that Junto has");
  }
}

void load_decoder(const Field& field, std::vector<DecoderStep>& steps) {
  const std::string type = type_of(field);
  if (type == "Sequence") {
    for_each_item(field.at("decoders"), [&](const Field& item) { load_decoder(item, steps); });
  } else if (type == "ByteLevel") {
    steps.emplace_back(DecodeByteLevel{});
  } else if (type == "ByteFallback") {
    steps.emplace_back(DecodeByteFallback{});
  } else if (type == "Fuse") {
    steps.emplace_back(DecodeFuse{});
  } else if (type == "Metaspace") {
    const Metaspace step = std::get<Metaspace>(metaspace(field));
    steps.emplace_back(DecodeMetaspace{step.replacement, step.prepend != Metaspace::Prepend::kNever});
  } else if (type == "Replace") {
    Pattern what = pattern(field.at("pattern"));
    steps.emplace_back(DecodeReplace{std::move(what.regex), std::move(what.literal), content(field.at("content"))});
  } else if (type == "Strip") {
    const auto count = [&](std::string_view key) {
      return static_cast<std::size_t>(field.at(key).integer(0, 1 << 30));
    };
    const std::string one = content(field.at("content"));
    if (one.empty()) field.at("content").refuse("one character");
    steps.emplace_back(DecodeStrip{one, count("start"), count("stop")});
  } else if (type == "WordPiece") {
    steps.emplace_back(DecodeWordPiece{field.string_or("prefix", "##"), field.boolean_or("cleanup", true)});
  } else if (type == "BPEDecoder") {
    steps.emplace_back(DecodeBpe{field.string_or("suffix", "</w>")});
  } else if (type == "CTC") {
    steps.emplace_back(DecodeCtc{field.string_or("pad_token", "<pad>"), field.string_or("word_delimiter_token", "|"),
                                 field.boolean_or("cleanup", true)});
  } else {
    field.at("type").refuse("a decoder that Junto has");
  }
}

}  // namespace junto::text
