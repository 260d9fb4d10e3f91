// Any bytes are a trace or an Error; what is accepted comes back from its own bytes.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "analyze/route_trace.h"
#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const junto::RouteTrace trace = junto::parse_trace(std::as_bytes(std::span(data, size)), "fuzz");
    const auto bytes = junto::serialize_trace(trace);
    if (junto::serialize_trace(junto::parse_trace(bytes, "fuzz")) != bytes) std::abort();
  } catch (const junto::Error&) {
  }
  return 0;
}
