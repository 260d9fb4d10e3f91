// Any bytes are CSV and JSON Lines or an Error, and documents that were read come back from what quotes them.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "format/text_records.h"

namespace {

using Texts = std::vector<std::string>;

template <class Read>
Texts texts_of(const Read& read, std::string_view text, std::string_view field) {
  Texts out;
  read(text, "fuzz", field, [&](std::string_view one) { out.emplace_back(one); });
  return out;
}

std::string as_csv(const Texts& texts) {
  std::string out = "t\n";
  for (const std::string& text : texts) {
    out += '"';
    for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
    out += "\"\r\n";
  }
  return out;
}

std::string as_lines(const Texts& texts) {
  std::string out;
  for (const std::string& text : texts) out += junto::Json{{"t", text}}.dump() + "\n";
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const Texts texts = texts_of(junto::read_csv, "t,u\n" + std::string(input), "t");
    if (texts_of(junto::read_csv, as_csv(texts), "t") != texts) std::abort();
  } catch (const junto::Error&) {
  }
  try {
    const Texts texts = texts_of(junto::read_json_lines, input, "t");
    if (texts_of(junto::read_json_lines, as_lines(texts), "t") != texts) std::abort();
  } catch (const junto::Error&) {
  }
  return 0;
}
