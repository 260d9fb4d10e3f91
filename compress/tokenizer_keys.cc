#include "compress/tokenizer_keys.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "format/tokenizer.h"
#include "format/tokenizer/named_patterns.h"

namespace junto {
namespace {

constexpr std::size_t kMaxTokenizerBytes = std::size_t{256} << 20;

// tokenizer.ggml.token_type
enum TokenType : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// What published pre-tokenizers treat differently: runs of digits, contractions in both cases, line ends, runs of
// spaces, marks, scripts with and without spaces, symbols, code. Composed characters only: GGUF has no normal forms.
constexpr std::string_view kProbe =
    "The quick brown fox, they'll say, isn't (really) 12 years old; WE'VE counted 1234567 times, I'M sure.\n\n"
    "  indented\tby\ttabs   and    runs of spaces \r\n\r\n\n x = y[3:14] + f(\"a_b\", 'c') // 3.14e-10 <= 0xFF && !z;\n"
    "Ünïcödé café naïve ÆØÅ Straße; Русский текст, Ελληνικά; עברית, العربية ١٢٣٤; हिन्दी में क्षत्रिय १२३, ภาษาไทย ๑๒๓; "
    "日本語のテキスト、漢字とカタカナ。中文文本，没有空格！한국어 문장입니다. Tiếng Việt; ½ ² Ⅷ ① "
    "🙂👍🏽👩‍👩‍👧 "
    "→ "
    "≠ ∑ €5,00 #tag @you "
    "http://example.org/a?b=c&d=%20 CamelCaseWords snake_case kebab-case __init__ ...---...   \n\n\n   end  ";

struct Source {
  const Checkpoint& checkpoint;
  std::string text;  // of tokenizer.json
  Json json;

  const Json& member(const char* name) const { return member(json, name); }
  static const Json& member(const Json& object, const char* name) {
    static const Json null;
    if (!object.is_object()) return null;
    const auto found = object.find(name);
    return found == object.end() ? null : *found;
  }
};

bool has_type(const Json& component, std::string_view type) {
  if (!component.is_object()) return false;
  if (Source::member(component, "type") == type) return true;
  for (const char* list : {"pretokenizers", "decoders", "normalizers", "processors"}) {
    for (const Json& step : Source::member(component, list)) {
      if (has_type(step, type)) return true;
    }
  }
  return false;
}

// The pre-tokenizer as patterns of NamedPreTokenizer, as far as it is made of those.
std::vector<std::string> patterns_of(const Json& pre_tokenizer) {
  std::vector<std::string> patterns;
  const Json list = has_type(pre_tokenizer, "Sequence") ? Source::member(pre_tokenizer, "pretokenizers")
                                                        : Json::array({pre_tokenizer});
  for (const Json& step : list) {
    const Json& type = Source::member(step, "type");
    if (type == "Split") {
      const Json& regex = Source::member(Source::member(step, "pattern"), "Regex");
      patterns.push_back(regex.is_string() ? regex.get<std::string>() : "");
    } else if (type == "Digits") {
      patterns.push_back(Source::member(step, "individual_digits") == true ? "\\p{N}" : "\\p{N}+");
    } else if (type == "ByteLevel" && Source::member(step, "use_regex") != false) {
      patterns.emplace_back(text::find_pre_tokenizer("gpt-2")->patterns.front());
    }
  }
  return patterns;
}

void add_token(GgufTokenizerData& data, std::int64_t id, const std::string& token, TokenType type) {
  if (id < 0 || id >= static_cast<std::int64_t>(data.tokens.size())) return;  // beyond the model's rows: unreachable
  data.tokens[id] = token;
  data.types[id] = type;
}

void add_vocabulary(const Source& source, GgufTokenizerData& data) {
  const Json& model = source.member("model");
  const Json& vocab = Source::member(model, "vocab");
  if (vocab.is_object()) {
    for (const auto& [token, id] : vocab.items()) {
      if (id.is_number_integer()) add_token(data, id.get<std::int64_t>(), token, kNormal);
    }
  } else {
    std::int64_t id = 0;
    for (const Json& entry : vocab) add_token(data, id++, entry.at(0).get<std::string>(), kNormal);
  }
  for (const Json& merge : Source::member(model, "merges")) {
    data.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                            : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());
  }
  for (const Json& added : source.member("added_tokens")) {
    const Json& id = Source::member(added, "id");
    const Json& content = Source::member(added, "content");
    if (!id.is_number_integer() || !content.is_string()) continue;
    const bool special = Source::member(added, "special") == true;
    add_token(data, id.get<std::int64_t>(), content.get<std::string>(), special ? kControl : kUserDefined);
  }
}

// SentencePiece's BPE joins the pair whose token scores highest; here the pair whose merge comes first. All merges to
// one token stand together in published files, so a token's first merge is its score.
void score_by_merges(const Source& source, GgufTokenizerData& data) {
  std::map<std::string, std::int64_t, std::less<>> rank;
  std::int64_t next = 0;
  for (const Json& merge : Source::member(source.member("model"), "merges")) {
    std::string token;
    if (merge.is_string()) {
      token = merge.get<std::string>();
      token.erase(std::min(token.find(' '), token.size()), 1);
    } else {
      token = merge.at(0).get<std::string>() + merge.at(1).get<std::string>();
    }
    rank.emplace(std::move(token), next++);
  }
  data.scores.assign(data.tokens.size(), static_cast<float>(-next));
  for (std::size_t id = 0; id < data.tokens.size(); ++id) {
    const auto found = rank.find(data.tokens[id]);
    if (found != rank.end()) data.scores[id] = static_cast<float>(-found->second);
    const std::string& token = data.tokens[id];
    const bool byte = token.size() == 6 && token.starts_with("<0x") && token.ends_with('>');
    if (byte && data.types[id] == kNormal) data.types[id] = kByte;
  }
  data.merges.clear();
}

// Ids that tokenizer_config.json and the model's configuration name.
void add_special_ids(const Source& source, const Tokenizer& tokenizer, GgufTokenizerData& data) {
  const auto in_range = [&](std::int64_t id) { return id >= 0 && id < static_cast<std::int64_t>(data.tokens.size()); };
  const auto named = [&](const char* token_key, const char* id_key) -> std::optional<std::int32_t> {
    Json token = Source::member(source.checkpoint.tokenizer_config, token_key);
    if (token.is_object()) token = Source::member(token, "content");
    if (token.is_string()) {
      const auto found = std::find(data.tokens.begin(), data.tokens.end(), token.get<std::string>());
      if (found != data.tokens.end()) return static_cast<std::int32_t>(found - data.tokens.begin());
    }
    Json id = Source::member(source.checkpoint.config, id_key);
    if (id.is_array() && !id.empty()) id = id.front();
    if (id.is_number_integer() && in_range(id.get<std::int64_t>())) return id.get<std::int32_t>();
    return std::nullopt;
  };
  data.bos_id = tokenizer.bos_id() ? tokenizer.bos_id() : named("bos_token", "bos_token_id");
  data.eos_id = tokenizer.eos_id() ? tokenizer.eos_id() : named("eos_token", "eos_token_id");
  data.pad_id = tokenizer.pad_id() ? tokenizer.pad_id() : named("pad_token", "pad_token_id");
  data.unk_id = tokenizer.unk_id() ? tokenizer.unk_id() : named("unk_token", "");
  data.add_bos = tokenizer.add_bos();
  data.add_eos = tokenizer.add_eos();

  // generation_config.json may name several ids that end an answer.
  for (const Json& id : Source::member(source.checkpoint.generation_config, "eos_token_id")) {
    if (!id.is_number_integer() || !in_range(id.get<std::int64_t>())) continue;
    const auto end = id.get<std::int32_t>();
    if (!data.eos_id) data.eos_id = end;
    if (end == data.eos_id) continue;
    std::optional<std::int32_t>& slot = data.eot_id ? data.eom_id : data.eot_id;
    if (!slot) slot = end;
  }
  if (data.unk_id && data.model == "llama") data.types[*data.unk_id] = kUnknown;
}

bool agree(const GgufTokenizerData& data, const Tokenizer& source, std::string_view where) {
  try {
    const Tokenizer written = load_tokenizer_gguf(data, where);
    return written.encode(kProbe, true) == source.encode(kProbe, true);
  } catch (const Error&) {
    return false;
  }
}

// Names the pre-tokenizer that cuts as the source does; the one that says the same in its patterns is tried first.
bool name_pre_tokenizer(const Source& source, const Tokenizer& tokenizer, GgufTokenizerData& data) {
  const std::vector<std::string> patterns = patterns_of(source.member("pre_tokenizer"));
  const bool ignore_merges = Source::member(source.member("model"), "ignore_merges") == true;
  const auto says_the_same = [&](const text::NamedPreTokenizer& named) {
    return named.ignore_merges == ignore_merges && !named.metaspace &&
           std::equal(named.patterns.begin(), named.patterns.end(), patterns.begin(), patterns.end());
  };
  for (const bool by_patterns : {true, false}) {
    for (const text::NamedPreTokenizer& named : text::named_pre_tokenizers()) {
      if (says_the_same(named) != by_patterns) continue;
      data.pre = named.names.front();
      if (agree(data, tokenizer, source.checkpoint.path)) return true;
    }
  }
  data.pre = "default";
  return false;
}

bool describe(const Source& source, const Tokenizer& tokenizer, GgufTokenizerData& data) {
  const Json& model = source.member("model");
  const Json& type = Source::member(model, "type");
  add_vocabulary(source, data);
  if (type == "BPE" && has_type(source.member("decoder"), "ByteLevel")) {
    data.model = "gpt2";
    add_special_ids(source, tokenizer, data);
    return name_pre_tokenizer(source, tokenizer, data);
  }
  if (type == "BPE" && Source::member(model, "byte_fallback") == true) {
    data.model = "llama";
    score_by_merges(source, data);
    add_special_ids(source, tokenizer, data);
    for (const bool prefix : {true, false}) {
      data.add_space_prefix = prefix;
      if (agree(data, tokenizer, source.checkpoint.path)) return true;
    }
    return false;
  }
  data.model = "gpt2";
  data.pre = "default";
  add_special_ids(source, tokenizer, data);
  return false;
}

void add_chat_template(const Checkpoint& checkpoint, Metadata& metadata) {
  if (!checkpoint.chat_template_file.empty()) {
    metadata.set("tokenizer.chat_template", checkpoint.chat_template_file);
    return;
  }
  const Json& templates = Source::member(checkpoint.tokenizer_config, "chat_template");
  if (templates.is_string()) metadata.set("tokenizer.chat_template", templates.get<std::string>());
  std::vector<std::string> names;
  for (const Json& entry : templates.is_array() ? templates : Json::array()) {
    const Json& name = Source::member(entry, "name");
    const Json& text = Source::member(entry, "template");
    if (!name.is_string() || !text.is_string()) continue;
    const bool plain = name == "default";
    if (!plain) names.push_back(name.get<std::string>());
    metadata.set(plain ? "tokenizer.chat_template" : "tokenizer.chat_template." + names.back(),
                 text.get<std::string>());
  }
  if (!names.empty()) metadata.set("tokenizer.chat_templates", names);
}

}  // namespace

std::string add_tokenizer_keys(const Checkpoint& checkpoint, std::int64_t vocab_size, Metadata& metadata) {
  if (checkpoint.tokenizer_json_path.empty()) return {};
  Source source{checkpoint, read_text_file(checkpoint.tokenizer_json_path, kMaxTokenizerBytes), {}};
  const Tokenizer tokenizer =
      load_tokenizer_json(source.text, checkpoint.tokenizer_json_path, checkpoint.tokenizer_config);
  source.json = parse_json(source.text, checkpoint.tokenizer_json_path);

  GgufTokenizerData data;
  for (std::int64_t id = 0; id < vocab_size; ++id) data.tokens.push_back("[PAD" + std::to_string(id) + "]");
  data.types.assign(vocab_size, kUnused);
  const bool same = describe(source, tokenizer, data);
  if (!same) data.huggingface_json = source.text;
  store_tokenizer(data, metadata);
  add_chat_template(checkpoint, metadata);
  if (same) return {};
  return "GGUF has no name for this tokenizer: its file goes with the model, other programs cut text differently";
}

void add_sampling_keys(const Checkpoint& checkpoint, Metadata& metadata) {
  static constexpr std::pair<const char*, const char*> kNumbers[] = {
      {"temperature", "general.sampling.temp"},
      {"top_p", "general.sampling.top_p"},
      {"min_p", "general.sampling.min_p"},
      {"repetition_penalty", "general.sampling.penalty_repeat"},
  };
  for (const auto& [option, key] : kNumbers) {
    const Json& value = Source::member(checkpoint.generation_config, option);
    if (value.is_number()) metadata.set(key, value.get<float>());
  }
  const Json& top_k = Source::member(checkpoint.generation_config, "top_k");
  if (top_k.is_number_integer()) metadata.set("general.sampling.top_k", top_k.get<std::int32_t>());
}

}  // namespace junto
