#include "format/tokenizer/vocabulary.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>

#include "format/tokenizer/unicode.h"

namespace junto::text {
namespace {

std::uint64_t process_seed() {
  static const std::uint64_t seed = [] {
    std::random_device device;
    return static_cast<std::uint64_t>(device()) << 32 | device();
  }();
  return seed;
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

constexpr std::uint64_t kOdd1 = 0x9E3779B97F4A7C15, kOdd2 = 0xD6E8FEB86659FD93;

}  // namespace

std::uint64_t hash_bytes(std::string_view bytes) {
  std::uint64_t h = process_seed() ^ (bytes.size() * kOdd1);
  const char* p = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, p += 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    h = mix(h ^ word, kOdd2 ^ process_seed());
  }
  std::uint64_t word = 0;
  if (left > 0) std::memcpy(&word, p, left);
  return mix(h ^ word ^ kOdd1, kOdd2 ^ process_seed());
}

std::uint64_t hash_u64(std::uint64_t value) {
  return mix(value ^ process_seed(), kOdd2);
}

void U64Map::reserve(std::size_t entries) {
  std::size_t capacity = 16;
  while (capacity < entries * 2) capacity *= 2;
  if (capacity <= slots_.size()) return;
  std::vector<Slot> old(capacity);
  old.swap(slots_);
  size_ = 0;
  for (const Slot& slot : old) {
    if (slot.key != kAbsent) insert(slot.key, slot.value);
  }
}

bool U64Map::insert(std::uint64_t key, std::uint64_t value) {
  if (slots_.size() < (size_ + 1) * 2) reserve(size_ + 1);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash_u64(key) & mask;; i = (i + 1) & mask) {
    if (slots_[i].key == key) return false;
    if (slots_[i].key == kAbsent) {
      slots_[i] = {key, value};
      ++size_;
      return true;
    }
  }
}

std::uint64_t U64Map::find(std::uint64_t key) const {
  if (slots_.empty()) return kAbsent;
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash_u64(key) & mask;; i = (i + 1) & mask) {
    if (slots_[i].key == key) return slots_[i].value;
    if (slots_[i].key == kAbsent) return kAbsent;
  }
}

std::size_t Vocabulary::slot_of(std::string_view token) const {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash_bytes(token) & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id == kNoToken) return i;
    if (std::string_view(arena_).substr(slot.offset, slot.size) == token) return i;
  }
}

void Vocabulary::grow() {
  std::vector<Slot> old(slots_.empty() ? 64 : slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id != kNoToken) slots_[slot_of(std::string_view(arena_).substr(slot.offset, slot.size))] = slot;
  }
}

void Vocabulary::add(TokenId id, std::string_view token) {
  if (slots_.size() < (static_cast<std::size_t>(count_) + 1) * 2) grow();
  Slot& slot = slots_[slot_of(token)];
  if (slot.id == kNoToken) {
    slot.offset = arena_.size();
    slot.size = static_cast<std::uint32_t>(token.size());
    arena_.append(token);
    ++count_;
  }
  slot.id = id;
  const auto index = static_cast<std::size_t>(id);
  if (index >= entries_.size()) entries_.resize(index + 1);
  entries_[index] = {slot.offset, slot.size};
}

TokenId Vocabulary::find(std::string_view token) const {
  return slots_.empty() ? kNoToken : slots_[slot_of(token)].id;
}

std::string_view Vocabulary::token(TokenId id) const {
  if (!contains(id)) return {};
  return std::string_view(arena_).substr(entries_[id].offset, entries_[id].size);
}

ByteTrie::ByteTrie(std::vector<std::pair<std::string_view, TokenId>> strings) {
  std::stable_sort(strings.begin(), strings.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  // Breadth first: each range of strings that share `depth` bytes is one node.
  struct Range {
    std::size_t low, high, depth;
    std::uint32_t node;
  };
  std::deque<Range> todo{{0, strings.size(), 0, 0}};
  nodes_.emplace_back();
  while (!todo.empty()) {
    auto [low, high, depth, node] = todo.front();
    todo.pop_front();
    for (; low < high && strings[low].first.size() == depth; ++low) {
      if (depth > 0) nodes_[node].value = strings[low].second;
    }
    nodes_[node].first_child = static_cast<std::uint32_t>(nodes_.size());
    while (low < high) {
      const auto byte = static_cast<unsigned char>(strings[low].first[depth]);
      std::size_t end = low;
      while (end < high && static_cast<unsigned char>(strings[end].first[depth]) == byte) ++end;
      const auto child = static_cast<std::uint32_t>(nodes_.size());
      nodes_.emplace_back().byte = byte;
      ++nodes_[node].children;
      if (depth == 0) starts_[byte] = child;
      todo.push_back({low, end, depth + 1, child});
      low = end;
    }
  }
}

std::uint32_t ByteTrie::step(std::uint32_t node, unsigned char byte) const {
  if (node == 0) return starts_[byte];
  const Node& parent = nodes_[node];
  std::uint32_t low = parent.first_child, high = low + parent.children;
  while (low < high) {
    const std::uint32_t middle = (low + high) / 2;
    if (nodes_[middle].byte < byte)
      low = middle + 1;
    else
      high = middle;
  }
  return low < parent.first_child + parent.children && nodes_[low].byte == byte ? low : kNowhere;
}

ByteLevel::ByteLevel() {
  std::fill(std::begin(byte_of_), std::end(byte_of_), std::int16_t{-1});
  char32_t next = 256;
  for (char32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    char_of[b] = printable ? b : next++;
    append_utf8(utf8_of[b], char_of[b]);
    byte_of_[char_of[b]] = static_cast<std::int16_t>(b);
  }
}

const ByteLevel& ByteLevel::get() {
  static const ByteLevel table;
  return table;
}

std::optional<unsigned char> ByteLevel::byte_of(char32_t c) const {
  if (c >= std::size(byte_of_) || byte_of_[c] < 0) return std::nullopt;
  return static_cast<unsigned char>(byte_of_[c]);
}

std::string ByteLevel::encode(std::string_view bytes) const {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) out += utf8_of[static_cast<unsigned char>(b)];
  return out;
}

std::optional<std::string> ByteLevel::decode(std::string_view token) const {
  std::string out;
  for (std::size_t i = 0; i < token.size();) {
    const Decoded at = decode_utf8(token.data() + i);
    const auto byte = byte_of(at.c);
    if (!byte) return std::nullopt;
    out.push_back(static_cast<char>(*byte));
    i += at.size;
  }
  return out;
}

}  // namespace junto::text
