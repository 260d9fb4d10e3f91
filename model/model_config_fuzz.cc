// Any config.json must give a model description or an Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "model/architectures.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    junto::Checkpoint checkpoint;
    checkpoint.kind = junto::Checkpoint::Kind::kHuggingFace;
    checkpoint.path = "fuzz";
    checkpoint.config = junto::parse_json({reinterpret_cast<const char*>(data), size}, "config.json");
    junto::describe_model(checkpoint);
  } catch (const junto::Error&) {
  }
  return 0;
}
