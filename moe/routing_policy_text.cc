// The text forms of a policy: JSON, the short form, @file.
#include <charconv>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "moe/json_fields.h"
#include "moe/routing_policy.h"

namespace junto {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// Cuts the part before the next `separator` off `text`.
std::string_view next_part(std::string_view& text, char separator) {
  const std::size_t end = text.find(separator);
  const std::string_view part = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return trim(part);
}

/// true, false, an integer, a number; anything else is a string, which the field will refuse or read.
Json parse_value(std::string_view text) {
  if (text == "true" || text == "false") return text == "true";
  const char* end = text.data() + text.size();
  std::int64_t integer = 0;
  if (const auto read = std::from_chars(text.data(), end, integer); read.ec == std::errc() && read.ptr == end) {
    return integer;
  }
  double number = 0;
  if (const auto read = std::from_chars(text.data(), end, number); read.ec == std::errc() && read.ptr == end) {
    return number;
  }
  return text;
}

/// Adds one entry of a mask (`!3`) or of offsets (`3:-1.5`) to the section.
void add_entry(Json& section, const std::string& key, std::string_view text, std::string_view where) {
  if (key == "mask") {
    section[key].push_back(text);
    return;
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    fail(where, "policy: offsets entry is \"" + printable(text) + "\", expected expert:offset as 3:-1.5");
  }
  const std::string id(trim(text.substr(0, colon)));
  if (section.contains(key) && section[key].contains(id)) fail(where, "policy: offsets names expert " + id + " twice");
  section[key][id] = parse_value(trim(text.substr(colon + 1)));
}

Json parse_section(std::string_view text, std::string_view where) {
  Json section = Json::object();
  std::string key;
  while (!text.empty()) {
    std::string_view part = next_part(text, ',');
    const bool is_list = key == "mask" || key == "offsets";
    if (const std::size_t equals = part.find('='); equals != std::string_view::npos) {
      key = std::string(trim(part.substr(0, equals)));
      if (section.contains(key)) fail(where, "policy: " + printable(key) + " is given twice");
      part = trim(part.substr(equals + 1));
      if (key != "mask" && key != "offsets") {
        section[key] = parse_value(part);
        continue;
      }
    } else if (!is_list) {
      fail(where, "policy: \"" + printable(part) + "\" has no =, expected key=value");
    }
    add_entry(section, key, part, where);
  }
  return section;
}

/// `4-7:` at the front of a section: its layers. A colon behind the first `=` belongs to offsets.
std::optional<std::string_view> take_layers(std::string_view& section) {
  const std::size_t colon = section.find(':');
  if (colon == std::string_view::npos || section.find('=') < colon) return std::nullopt;
  const std::string_view layers = trim(section.substr(0, colon));
  section = trim(section.substr(colon + 1));
  return layers;
}

RoutingPolicy parse_short_form(std::string_view text, std::string_view where) {
  RoutingPolicy policy;
  Json all = Json::object();
  while (!text.empty()) {
    std::string_view section = next_part(text, ';');
    if (section.empty()) continue;
    const std::optional<std::string_view> layers = take_layers(section);
    const Json fields = parse_section(section, where);
    if (layers) {
      add_layer_policy(*layers, fields, where, policy);
      continue;
    }
    for (const auto& item : fields.items()) {
      if (all.contains(item.key())) fail(where, "policy: " + printable(item.key()) + " is given twice");
      all[item.key()] = item.value();
    }
  }
  if (all.contains("layers")) fail(where, "policy: layers are written as 4-7:top_k=1 in the short form");
  policy.all = routing_policy_from_json(all, where).all;
  return policy;
}

RoutingPolicy parse_text(std::string_view text, std::string_view where) {
  if (text.size() > kMaxBytes) fail(where, "policy is longer than 1 MiB");
  if (text.starts_with('{')) return routing_policy_from_json(parse_json(text, where), where);
  return parse_short_form(text, where);
}

}  // namespace

RoutingPolicy parse_routing_policy(std::string_view text, std::string_view where) {
  text = trim(text);
  if (!text.starts_with('@')) return parse_text(text, where);
  const std::string path(text.substr(1));
  return parse_text(trim(read_text_file(path, kMaxBytes)), path);
}

}  // namespace junto
