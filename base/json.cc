#include "base/json.h"

#include <string>

#include "base/error.h"

namespace junto {
namespace {

template <class J>
J parse(std::string_view text, std::string_view where, int max_depth) {
  const auto limit_depth = [&](int depth, typename J::parse_event_t event, J&) {
    const bool opens = event == J::parse_event_t::object_start || event == J::parse_event_t::array_start;
    if (opens && depth >= max_depth) {
      fail(where, "JSON is nested deeper than " + std::to_string(max_depth) + " levels");
    }
    return true;
  };
  try {
    return J::parse(text.begin(), text.end(), limit_depth);
  } catch (const nlohmann::detail::exception& error) {
    std::string message = error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    const std::size_t bracket = message.find("] ");
    if (bracket != std::string::npos) message.erase(0, bracket + 2);
    fail(where, "not valid JSON: " + printable(message, 200));
  }
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where, int max_depth) {
  return parse<Json>(text, where, max_depth);
}

OrderedJson parse_ordered_json(std::string_view text, std::string_view where, int max_depth) {
  return parse<OrderedJson>(text, where, max_depth);
}

}  // namespace junto
