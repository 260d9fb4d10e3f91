// Any bytes are a safetensors file or an Error, and what is accepted can be read to its last value.
#include <cstring>

#include "base/error.h"
#include "format/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span input(data, size);
  const auto parse = [](std::span<const std::byte> bytes) {
    try {
      const junto::SafetensorsFile file = junto::parse_safetensors(bytes, "fuzz");
      for (const junto::NamedTensor& tensor : file.tensors.all()) static_cast<void>(junto::decode(tensor.tensor));
    } catch (const junto::Error&) {
    }
  };
  parse(std::as_bytes(input));
  // Most inputs fail on the first 8 bytes: the same as a header alone, with as many data bytes as its first byte says.
  const std::uint64_t header_bytes = size;
  std::vector<std::byte> framed(sizeof header_bytes + size + (size > 0 ? data[0] : 0));
  std::memcpy(framed.data(), &header_bytes, sizeof header_bytes);
  if (size > 0) std::memcpy(framed.data() + sizeof header_bytes, data, size);
  parse(framed);
  return 0;
}
