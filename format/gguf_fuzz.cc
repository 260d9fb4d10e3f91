// Any bytes are a GGUF file or an Error, and what is accepted can be read to its last value.
#include "base/error.h"
#include "format/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const junto::GgufFile file = junto::parse_gguf(std::as_bytes(std::span(data, size)), "fuzz");
    for (const auto& [key, value] : file.metadata.entries()) static_cast<void>(junto::describe(value));
    for (const char* key : {"i", "s", "n", "b", "general.alignment"}) {
      try {
        static_cast<void>(file.metadata.integers(key));
        static_cast<void>(file.metadata.number(key));
      } catch (const junto::Error&) {
      }
    }
    for (const junto::NamedTensor& tensor : file.tensors.all()) static_cast<void>(junto::decode(tensor.tensor));
  } catch (const junto::Error&) {
  }
  return 0;
}
