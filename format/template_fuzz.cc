// Any bytes as a chat template: rendered on a small conversation within small bounds, or an Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "format/chat_template.h"

namespace {

const junto::OrderedJson& variables() {
  static const junto::OrderedJson value = junto::parse_ordered_json(
      R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße 👍 <b>"},
          {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5]}}}]}],
          "tools": [{"function": {"name": "f", "parameters": {"type": "object"}}}], "n": -7, "f": 2.5, "t": true,
          "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true})",
      "fuzz");
  return value;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  junto::jinja::RenderOptions options;
  options.limits.steps = 200'000;
  options.limits.memory_bytes = 64 << 20;
  options.limits.output_bytes = 4 << 20;
  try {
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    junto::ChatTemplate::parse(source, "fuzz").render(variables(), options);
  } catch (const junto::Error&) {
  }
  return 0;
}
