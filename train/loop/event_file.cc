#include "train/loop/event_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace junto {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 31, kMaxEventBytes = std::size_t{1} << 26;
constexpr std::size_t kHead = 12, kTail = 4;  // bytes around the data of a record

static_assert(std::endian::native == std::endian::little, "values are written as they lie in memory");

template <class T>
void put_raw(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof bytes);
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

enum Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_key(std::string& out, int field, Wire wire) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | wire);
}
void put_double(std::string& out, int field, double value) {
  put_key(out, field, kFixed64);
  put_raw(out, value);
}
void put_bytes(std::string& out, int field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_doubles(std::string& out, int field, const std::vector<double>& values) {
  put_bytes(out, field, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)});
}

std::string event_of(std::int64_t step, double wall_time, std::string_view summary) {
  std::string event;
  put_double(event, 1, wall_time);
  put_key(event, 2, kVarint);
  put_varint(event, static_cast<std::uint64_t>(step));
  put_bytes(event, 5, summary);
  return event;
}

/// The fields of a message, one after the other.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}
  /// False at the end; `broken` where the message is none.
  bool next() {
    if (rest_.empty() || broken) return false;
    const std::uint64_t key = varint();
    field = static_cast<int>(key >> 3);
    wire = static_cast<int>(key & 7);
    if (wire == kVarint) {
      number = varint();
      return !broken;
    }
    const std::size_t size = wire == kFixed64 ? 8 : wire == kFixed32 ? 4 : wire == kBytes ? varint() : rest_.size() + 1;
    if (size > rest_.size()) broken = true;
    if (broken) return false;
    bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }
  template <class T>
  T as() const {
    T value{};
    if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  int field = 0, wire = 0;
  std::uint64_t number = 0;
  std::string_view bytes;
  bool broken = false;

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    broken = true;
    return 0;
  }
  std::string_view rest_;
};

EventValue value_of(std::string_view message, std::int64_t step) {
  EventValue out;
  out.step = step;
  for (Fields value(message); value.next();) {
    if (value.field == 1) out.tag = value.bytes;
    if (value.field == 2) out.value = static_cast<double>(value.as<float>());
    if (value.field != 5) continue;
    for (Fields histogram(value.bytes); histogram.next();) {
      if (histogram.field != 7) continue;
      out.buckets.resize(histogram.bytes.size() / sizeof(double));
      std::memcpy(out.buckets.data(), histogram.bytes.data(), out.buckets.size() * sizeof(double));
    }
  }
  return out;
}

std::int64_t step_of(std::string_view event) {
  std::int64_t step = 0;
  for (Fields fields(event); fields.next();) {
    if (fields.field == 2) step = static_cast<std::int64_t>(fields.number);
  }
  return step;
}

/// The data of the record that begins at `at`; nothing where it is not whole. Throws Error at a wrong checksum.
std::string_view record_at(std::string_view file, std::size_t at, const std::string& path) {
  const std::string_view rest = file.substr(at);
  if (rest.size() < kHead + kTail) return {};
  const auto number = [&](std::size_t offset) {
    std::uint32_t value = 0;
    std::memcpy(&value, rest.data() + offset, sizeof value);
    return value;
  };
  std::uint64_t size = 0;
  std::memcpy(&size, rest.data(), sizeof size);
  if (masked_crc(crc32c(rest.substr(0, 8))) != number(8) || size > kMaxEventBytes) {
    fail(path, "the record at byte " + std::to_string(at) + " has a damaged length");
  }
  if (rest.size() < kHead + size + kTail) return {};
  const std::string_view data = rest.substr(kHead, size);
  if (masked_crc(crc32c(data)) != number(kHead + size)) {
    fail(path, "the record at byte " + std::to_string(at) + " has a wrong checksum");
  }
  return data;
}

/// Records of steps up to `last_step`, whole ones.
std::string kept_records(const std::string& path, std::int64_t last_step) {
  const std::string file = read_text_file(path, kMaxFileBytes);
  std::string kept;
  for (std::size_t at = 0; at < file.size();) {
    const std::string_view data = record_at(file, at, path);
    if (data.empty()) break;
    const std::size_t size = kHead + data.size() + kTail;
    if (step_of(data) <= last_step) kept.append(file, at, size);
    at += size;
  }
  return kept;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> out{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      out[i] = i;
      for (int bit = 0; bit < 8; ++bit) out[i] = out[i] >> 1 ^ ((out[i] & 1) != 0 ? 0x82F63B78u : 0u);
    }
    return out;
  }();
  std::uint32_t crc = ~std::uint32_t{0};
  for (const char c : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

std::uint32_t masked_crc(std::uint32_t crc) {
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

EventFile::EventFile(const std::string& path, std::int64_t last_step) : path_(path) {
  const bool exists = std::filesystem::exists(path);
  if (exists) {
    const std::string kept = kept_records(path, last_step);
    AtomicFile file(path);
    file.write(kept);
    file.commit();
  }
  file_.reset(std::fopen(path.c_str(), "ab"));
  if (file_ == nullptr) fail(path, std::string("cannot be written: ") + std::strerror(errno));
  if (exists) return;
  std::string version;
  put_double(version, 1, 0.0);
  put_bytes(version, 3, "brain.Event:2");
  append(version);
}

void EventFile::append(std::string_view event) {
  std::string record;
  put_raw(record, static_cast<std::uint64_t>(event.size()));
  put_raw(record, masked_crc(crc32c(record)));
  record += event;
  put_raw(record, masked_crc(crc32c(event)));
  const bool written = std::fwrite(record.data(), 1, record.size(), file_.get()) == record.size();
  if (!written || std::fflush(file_.get()) != 0) fail(path_, std::string("cannot be written: ") + std::strerror(errno));
}

void EventFile::add_scalars(std::int64_t step, double wall_time,
                            std::span<const std::pair<std::string_view, double>> values) {
  std::string summary;
  for (const auto& [tag, number] : values) {
    std::string value;
    put_bytes(value, 1, tag);
    put_key(value, 2, kFixed32);
    put_raw(value, static_cast<float>(number));
    put_bytes(summary, 1, value);
  }
  append(event_of(step, wall_time, summary));
}

void EventFile::add_histogram(std::int64_t step, double wall_time, std::string_view tag,
                              const EventHistogram& histogram) {
  double count = 0.0, sum = 0.0, squares = 0.0;
  std::vector<double> limits;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    const double at = static_cast<double>(i);
    count += histogram.counts[i];
    sum += histogram.counts[i] * at;
    squares += histogram.counts[i] * at * at;
    limits.push_back(at + 0.5);
  }
  std::string histo, value, summary;
  put_double(histo, 1, -0.5);
  put_double(histo, 2, static_cast<double>(histogram.counts.size()) - 0.5);
  put_double(histo, 3, count);
  put_double(histo, 4, sum);
  put_double(histo, 5, squares);
  put_doubles(histo, 6, limits);
  put_doubles(histo, 7, histogram.counts);
  put_bytes(value, 1, tag);
  put_bytes(value, 5, histo);
  put_bytes(summary, 1, value);
  append(event_of(step, wall_time, summary));
}

std::vector<EventValue> read_event_file(const std::string& path) {
  const std::string file = read_text_file(path, kMaxFileBytes);
  std::vector<EventValue> out;
  for (std::size_t at = 0; at < file.size();) {
    const std::string_view data = record_at(file, at, path);
    if (data.empty()) fail(path, "the record at byte " + std::to_string(at) + " is not whole");
    const std::int64_t step = step_of(data);
    for (Fields event(data); event.next();) {
      if (event.field != 5) continue;
      for (Fields summary(event.bytes); summary.next();) {
        if (summary.field == 1) out.push_back(value_of(summary.bytes, step));
      }
    }
    at += kHead + data.size() + kTail;
  }
  return out;
}

}  // namespace junto
