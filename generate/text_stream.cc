#include "generate/text_stream.h"

#include <algorithm>
#include <utility>

#include "format/tokenizer/unicode.h"

namespace junto {
namespace {

/// The longest end of `text` that `stop` begins with, without being all of it.
std::size_t overlap(std::string_view text, std::string_view stop) {
  for (std::size_t size = std::min(text.size(), stop.size() - 1); size > 0; --size) {
    if (text.substr(text.size() - size) == stop.substr(0, size)) return size;
  }
  return 0;
}

}  // namespace

std::size_t unfinished_utf8(std::string_view bytes) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, bytes.size()); ++back) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if (byte >= 0x80 && byte < 0xC0) continue;  // inside a character: look for its first byte
    const std::size_t size = byte >= 0xF0 && byte < 0xF5   ? 4
                             : byte >= 0xE0 && byte < 0xF0 ? 3
                             : byte >= 0xC2 && byte < 0xE0 ? 2
                                                           : 1;
    return size > back ? back : 0;
  }
  return 0;
}

TextStream::TextStream(std::vector<std::string> stop) : stop_(std::move(stop)) {
  std::erase_if(stop_, [](const std::string& s) { return s.empty(); });
}

std::string TextStream::push(std::string_view bytes) {
  if (stopped()) return {};
  bytes_ += bytes;
  const std::size_t whole = bytes_.size() - unfinished_utf8(bytes_);
  text_ += text::lossy_utf8(std::string_view(bytes_).substr(0, whole));
  bytes_.erase(0, whole);
  return take(false);
}

std::string TextStream::finish() {
  if (stopped()) return {};
  text_ += text::lossy_utf8(bytes_);
  bytes_.clear();
  return take(true);
}

std::string TextStream::take(bool all) {
  std::size_t end = std::string::npos;
  for (const std::string& stop : stop_) {
    const std::size_t at = text_.find(stop);
    if (at < end) end = at, stopped_by_ = stop;
  }
  if (end == std::string::npos) {
    std::size_t held = 0;
    for (const std::string& stop : stop_) held = std::max(held, all ? 0 : overlap(text_, stop));
    end = text_.size() - held;
  }
  std::string out = text_.substr(0, end);
  text_.erase(0, end);
  return out;
}

}  // namespace junto
