// A saved sequence, little-endian:
//   "JSEQ" u32 version, u64 fingerprint, u32 kv type, u64 page bytes,
//   u64 tokens, i32 each; blob of the policy's JSON;
//   u64 carries: (blob name, u64 floats, f32 each); u64 states: (blob name, blob);
//   pages, whole, as many as the tokens need; u64 FNV-1a of everything before it.
// A blob is u64 bytes, then the bytes.
#include "model/sequence.h"

#include <cstring>
#include <string>
#include <utility>

#include "base/error.h"

namespace junto {
namespace {

constexpr char kMagic[4] = {'J', 'S', 'E', 'Q'};
constexpr std::uint32_t kVersion = 2;

std::uint64_t checksum(std::span<const std::byte> bytes) {
  std::uint64_t hash = 1469598103934665603ull;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<std::uint64_t>(b)) * 1099511628211ull;
  return hash;
}

std::size_t pages_for(std::int64_t length) {
  return static_cast<std::size_t>((length + kPagePositions - 1) / kPagePositions);
}

class Writer {
 public:
  template <class T>
  void put(const T& value) {
    append(&value, sizeof value);
  }
  void append(const void* data, std::size_t size) {
    if (size > 0) out.append(static_cast<const char*>(data), size);
  }
  void blob(const void* data, std::size_t size) {
    put<std::uint64_t>(size);
    append(data, size);
  }
  std::string out;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  std::span<const std::byte> take(std::uint64_t size) {
    if (size > bytes_.size())
      fail(where_, "saved sequence is cut short: " + std::to_string(size) + " bytes expected, " +
                       std::to_string(bytes_.size()) + " left");
    const auto part = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return part;
  }
  template <class T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  /// `count` values of T.
  template <class T>
  std::vector<T> list(std::uint64_t count) {
    if (count > bytes_.size() / sizeof(T)) fail(where_, "saved sequence is cut short");
    std::vector<T> values(count);
    const auto part = take(count * sizeof(T));
    if (count > 0) std::memcpy(values.data(), part.data(), part.size());
    return values;
  }
  std::string text() {
    const auto part = take(get<std::uint64_t>());
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  std::size_t left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  std::string_view where_;
};

}  // namespace

KvPage& writable_page(Sequence& sequence, const KvLayout& layout, std::int64_t position) {
  const auto index = static_cast<std::size_t>(position / kPagePositions);
  while (sequence.pages.size() <= index) sequence.pages.push_back(std::make_shared<KvPage>(layout.page_bytes));
  std::shared_ptr<KvPage>& page = sequence.pages[index];
  if (page.use_count() > 1) page = std::make_shared<KvPage>(*page);
  return *page;
}

void truncate(Sequence& sequence, std::int64_t length) {
  if (length < 0 || length > sequence.length()) {
    fail("truncate", "length is " + std::to_string(length) + ", expected 0.." + std::to_string(sequence.length()));
  }
  sequence.tokens.resize(static_cast<std::size_t>(length));
  sequence.pages.resize(std::min(sequence.pages.size(), pages_for(length)));
}

std::vector<std::byte> save_sequence(const Sequence& sequence, const KvLayout& layout, std::uint64_t fingerprint) {
  Writer w;
  w.append(kMagic, sizeof kMagic);
  w.put(kVersion);
  w.put(fingerprint);
  w.put(static_cast<std::uint32_t>(layout.type));
  w.put<std::uint64_t>(layout.page_bytes);
  w.put<std::uint64_t>(0);  // an empty blob: room for a later version's extensions
  w.put<std::uint64_t>(sequence.tokens.size());
  w.append(sequence.tokens.data(), sequence.tokens.size() * sizeof(std::int32_t));
  const std::string policy = sequence.policy.empty() ? std::string() : to_json(sequence.policy).dump();
  w.blob(policy.data(), policy.size());
  w.put<std::uint64_t>(sequence.carries.size());
  for (const auto& [name, values] : sequence.carries) {
    w.blob(name.data(), name.size());
    w.put<std::uint64_t>(values.size());
    w.append(values.data(), values.size() * sizeof(float));
  }
  w.put<std::uint64_t>(sequence.states.size());
  for (const auto& [name, bytes] : sequence.states) {
    w.blob(name.data(), name.size());
    w.blob(bytes.data(), bytes.size());
  }
  for (std::size_t p = 0; p < pages_for(sequence.length()); ++p)
    w.append(sequence.pages[p]->data.get(), layout.page_bytes);
  w.put(checksum(std::as_bytes(std::span(w.out))));
  std::vector<std::byte> bytes(w.out.size());
  std::memcpy(bytes.data(), w.out.data(), bytes.size());
  return bytes;
}

Sequence restore_sequence(std::span<const std::byte> bytes, const KvLayout& layout, std::uint64_t fingerprint,
                          std::string_view where) {
  Reader r(bytes, where);
  const auto magic = r.take(sizeof kMagic);
  if (std::memcmp(magic.data(), kMagic, sizeof kMagic) != 0) fail(where, "is not a saved sequence");
  if (const auto version = r.get<std::uint32_t>(); version != kVersion) {
    fail(where, "version is " + std::to_string(version) + ", expected " + std::to_string(kVersion));
  }
  std::uint64_t stored = 0;
  if (bytes.size() >= sizeof stored) std::memcpy(&stored, bytes.data() + bytes.size() - sizeof stored, sizeof stored);
  if (checksum(bytes.first(bytes.size() - sizeof stored)) != stored)
    fail(where, "saved sequence is damaged: its checksum does not match");
  if (r.get<std::uint64_t>() != fingerprint) fail(where, "belongs to another model");
  const auto type = static_cast<DType>(r.get<std::uint32_t>());
  if (type != layout.type || r.get<std::uint64_t>() != layout.page_bytes) {
    fail(where, "KV cache is of another type or layout, expected " + std::string(dtype_name(layout.type)));
  }
  r.text();
  Sequence s;
  s.tokens = r.list<std::int32_t>(r.get<std::uint64_t>());
  if (const std::string policy = r.text(); !policy.empty()) s.policy = parse_routing_policy(policy, where);
  for (auto left = r.get<std::uint64_t>(); left > 0; --left) {
    std::string name = r.text();
    s.carries[std::move(name)] = r.list<float>(r.get<std::uint64_t>());
  }
  for (auto left = r.get<std::uint64_t>(); left > 0; --left) {
    std::string name = r.text();
    s.states[std::move(name)] = r.list<std::byte>(r.get<std::uint64_t>());
  }
  const std::size_t pages = pages_for(s.length());
  if (layout.page_bytes > 0 && pages > r.left() / layout.page_bytes) fail(where, "saved sequence is cut short");
  for (std::size_t p = 0; p < pages; ++p) {
    s.pages.push_back(std::make_shared<KvPage>(layout.page_bytes));
    std::memcpy(s.pages.back()->data.get(), r.take(layout.page_bytes).data(), layout.page_bytes);
  }
  return s;
}

std::size_t kv_bytes(const Sequence& sequence) {
  std::size_t bytes = 0;
  for (const auto& page : sequence.pages) bytes += page->bytes;
  return bytes;
}

}  // namespace junto
