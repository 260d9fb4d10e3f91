// Any value of junto.paths must give the experts of stages or an Error.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "model/stored_paths.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    junto::Checkpoint checkpoint;
    checkpoint.path = "fuzz";
    checkpoint.metadata.set(junto::kStoredPathsKey, std::string(reinterpret_cast<const char*>(data), size));
    junto::ModelConfig config;
    junto::apply_stored_paths(checkpoint, config);
    if (config.outputs() > std::int64_t{1} << 20) __builtin_trap();
  } catch (const junto::Error&) {
  }
  return 0;
}
