// Input: a JSON (tokenizer.json, or GGUF keys as an object with "tokenizer.ggml.model"), a zero byte, a text. Loads the
// tokenizer, encodes the text in both ways, decodes what came out. Errors are fine; crashes, hangs and memory are not.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "format/tokenizer.h"
#include "format/tokenizer/unicode.h"

namespace {

using namespace junto;

constexpr std::size_t kMaxText = 4096;

std::vector<std::string> strings(const Json& json, const char* key) {
  std::vector<std::string> out;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) return out;
  for (const Json& one : *found) {
    if (one.is_string()) out.push_back(one.get<std::string>());
  }
  return out;
}

GgufTokenizerData gguf_data(const Json& json) {
  GgufTokenizerData data;
  data.model = json.value("tokenizer.ggml.model", "");
  const auto pre = json.find("pre");
  if (pre != json.end() && pre->is_string()) data.pre = pre->get<std::string>();
  data.tokens = strings(json, "tokens");
  data.merges = strings(json, "merges");
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    data.scores.push_back(static_cast<float>(i * 7 % 13) - 6);
    data.types.push_back(static_cast<std::int32_t>(data.tokens[i].size() % 6 + 1));
  }
  for (const std::string& bytes : strings(json, "charsmap"))
    data.charsmap.insert(data.charsmap.end(), bytes.begin(), bytes.end());
  data.bos_id = 0;
  return data;
}

void use(const Tokenizer& tokenizer, std::string_view text) {
  const auto check = [](bool holds) {
    if (!holds) std::abort();
  };
  const auto ids = tokenizer.encode(text, true);
  for (const std::int32_t id : tokenizer.encode_plain(text)) {
    check(!tokenizer.is_special(id) || id == tokenizer.unk_id());
  }
  const std::string decoded = tokenizer.decode(ids, false);
  check(text::valid_utf8_prefix(decoded) == decoded.size());
  for (const std::int32_t id : ids) (void)tokenizer.token_bytes(id);
  (void)tokenizer.decode(std::vector<std::int32_t>{-1, 0, 1, 1 << 30}, true);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = std::min(input.find('\0'), input.size());
  const std::string_view json_text = input.substr(0, zero);
  const std::string_view text = input.substr(std::min(zero + 1, input.size())).substr(0, kMaxText);
  try {
    if (json_text.find("tokenizer.ggml.model") != std::string_view::npos) {
      const Json json = parse_json(json_text, "fuzz");
      if (!json.is_object() || !json.value("tokenizer.ggml.model", Json()).is_string()) return 0;
      use(load_tokenizer_gguf(gguf_data(json), "fuzz"), text);
    } else {
      const Tokenizer tokenizer = load_tokenizer_json(json_text, "fuzz");
      use(tokenizer, text);
      use(load_tokenizer_gguf(gguf_tokenizer_data(tokenizer, 0, json_text), "fuzz"), text);
    }
  } catch (const Error&) {
  }
  return 0;
}
