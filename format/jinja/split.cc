// Python's ways to cut text: strip, split, splitlines, replace.
#include <algorithm>

#include "format/jinja/python_text.h"
#include "format/jinja/value.h"

namespace junto::jinja {
namespace {

// Bytes of the last character of `text` that ends at `end`.
std::size_t last_size(std::string_view text, std::size_t end) {
  std::size_t size = 1;
  while (size < end && size < 4 && (static_cast<unsigned char>(text[end - size]) & 0xc0) == 0x80) ++size;
  return size;
}

char32_t decode_one(std::string_view bytes) {
  return bytes.size() == 1 ? static_cast<unsigned char>(bytes[0]) : decode_utf8(bytes)[0];
}

template <class Strips>
std::string_view strip_if(std::string_view text, Side side, Strips strips) {
  std::size_t begin = 0, end = text.size();
  if (side != Side::kRight) {
    while (begin < end && strips(text.substr(begin, code_point_size(text, begin)))) {
      begin += code_point_size(text, begin);
    }
  }
  if (side != Side::kLeft) {
    while (end > begin) {
      const std::size_t size = last_size(text, end);
      if (!strips(text.substr(end - size, size))) break;
      end -= size;
    }
  }
  return text.substr(begin, end - begin);
}

bool is_space_bytes(std::string_view character) {
  return is_space(decode_one(character));
}

// Size of the line end at `at` (1 to 3 bytes, CR LF counts as one), 0 where there is none.
std::size_t line_end_size(std::string_view text, std::size_t at) {
  const std::size_t size = code_point_size(text, at);
  const char32_t c = decode_one(text.substr(at, size));
  if (c == U'\r') return at + 1 < text.size() && text[at + 1] == '\n' ? 2 : 1;
  const bool ends = (c >= 10 && c <= 12) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
  return ends ? size : 0;
}

}  // namespace

std::string_view strip(std::string_view text, Side side) {
  return strip_if(text, side, is_space_bytes);
}

std::string_view strip(std::string_view text, std::string_view chars, Side side) {
  std::u32string set = decode_utf8(chars);
  std::sort(set.begin(), set.end());
  return strip_if(text, side, [&set](std::string_view character) {
    return std::binary_search(set.begin(), set.end(), decode_one(character));
  });
}

std::vector<std::string_view> split_space(std::string_view text, std::int64_t limit) {
  std::vector<std::string_view> fields;
  text = strip(text, Side::kLeft);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<std::int64_t>(fields.size()) >= limit) {
      fields.push_back(text);
      break;
    }
    std::size_t end = 0;
    while (end < text.size() && !is_space_bytes(text.substr(end, code_point_size(text, end)))) {
      end += code_point_size(text, end);
    }
    fields.push_back(text.substr(0, end));
    text = strip(text.substr(end), Side::kLeft);
  }
  return fields;
}

std::vector<std::string_view> rsplit_space(std::string_view text, std::int64_t limit) {
  std::vector<std::string_view> fields;
  text = strip(text, Side::kRight);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<std::int64_t>(fields.size()) >= limit) {
      fields.push_back(text);
      break;
    }
    std::size_t begin = text.size();
    while (begin > 0) {
      const std::size_t size = last_size(text, begin);
      if (is_space_bytes(text.substr(begin - size, size))) break;
      begin -= size;
    }
    fields.push_back(text.substr(begin));
    text = strip(text.substr(0, begin), Side::kRight);
  }
  std::reverse(fields.begin(), fields.end());
  return fields;
}

std::vector<std::string_view> split_on(std::string_view text, std::string_view separator, std::int64_t limit) {
  if (separator.empty()) raise("empty separator");
  std::vector<std::string_view> fields;
  std::size_t begin = 0;
  while (limit < 0 || static_cast<std::int64_t>(fields.size()) < limit) {
    const std::size_t end = find_bytes(text, separator, begin);
    if (end == std::string_view::npos) break;
    fields.push_back(text.substr(begin, end - begin));
    begin = end + separator.size();
  }
  fields.push_back(text.substr(begin));
  return fields;
}

std::vector<std::string_view> rsplit_on(std::string_view text, std::string_view separator, std::int64_t limit) {
  if (separator.empty()) raise("empty separator");
  const std::string reversed_text(text.rbegin(), text.rend()), reversed(separator.rbegin(), separator.rend());
  std::vector<std::string_view> fields;
  std::size_t begin = 0;  // in the reversed text
  while (limit < 0 || static_cast<std::int64_t>(fields.size()) < limit) {
    const std::size_t end = find_bytes(reversed_text, reversed, begin);
    if (end == std::string_view::npos) break;
    fields.push_back(text.substr(text.size() - end, end - begin));
    begin = end + separator.size();
  }
  fields.push_back(text.substr(0, text.size() - begin));
  std::reverse(fields.begin(), fields.end());
  return fields;
}

std::size_t rfind_bytes(std::string_view text, std::string_view part) {
  const std::string reversed_text(text.rbegin(), text.rend()), reversed(part.rbegin(), part.rend());
  const std::size_t found = find_bytes(reversed_text, reversed, 0);
  return found == std::string_view::npos ? found : text.size() - found - part.size();
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end_size = line_end_size(text, at);
    if (end_size == 0) {
      at += code_point_size(text, at);
      continue;
    }
    lines.push_back(text.substr(begin, at - begin + (keep_ends ? end_size : 0)));
    begin = at += end_size;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::size_t count_of(std::string_view text, std::string_view part) {
  if (part.empty()) return count_code_points(text) + 1;
  std::size_t count = 0;
  for (std::size_t at = 0; (at = find_bytes(text, part, at)) != std::string_view::npos; at += part.size()) ++count;
  return count;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to, std::int64_t limit,
                        std::size_t max_bytes) {
  std::string out;
  const auto add = [&](std::string_view piece) {
    if (piece.size() > max_bytes - out.size()) raise("replace makes more than " + std::to_string(max_bytes) + " bytes");
    out += piece;
  };
  std::size_t at = 0;
  for (std::int64_t count = 0; limit < 0 || count < limit; ++count) {
    if (from.empty()) {  // before every character, and at the end
      add(to);
      if (at >= text.size()) return out;
      const std::size_t size = code_point_size(text, at);
      add(text.substr(at, size));
      at += size;
      continue;
    }
    const std::size_t found = find_bytes(text, from, at);
    if (found == std::string_view::npos) break;
    add(text.substr(at, found - at));
    add(to);
    at = found + from.size();
  }
  add(text.substr(at));
  return out;
}

}  // namespace junto::jinja
