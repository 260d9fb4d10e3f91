// Event files that TensorBoard reads: scalars and histograms over steps.
//
// A record is a length (u64), the masked CRC-32C of its bytes (u32), the data, the data's masked CRC (u32), all little
// endian (TFRecord). The data are a message `Event` in protobuf's wire format:
//   Event     1 double wall_time   2 int64 step   3 string file_version   5 Summary summary
//   Summary   1 Value value (repeated)
//   Value     1 string tag   2 float simple_value   5 Histogram histo
//   Histogram 1 double min   2 max   3 num   4 sum   5 sum_squares   6 bucket_limit (packed)   7 bucket (packed)
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace junto {

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) of `bytes`.
std::uint32_t crc32c(std::string_view bytes);

/// As TFRecord stores it, so that a checksum of data with checksums in it stays meaningful.
std::uint32_t masked_crc(std::uint32_t crc);

/// Counts `counts[i]` of what lies around i: bucket i reaches from i - 0.5 to i + 0.5.
struct EventHistogram {
  std::vector<double> counts;
};

/// Appends to a file; every call is one record, complete on disk when it returns.
class EventFile {
 public:
  /// Opens or makes <folder>/events.out.tfevents.<...>; an existing file loses records of steps after `last_step`
  /// and, where a crash cut it, its incomplete end. Throws Error where it cannot be written.
  EventFile(const std::string& path, std::int64_t last_step);
  void add_scalars(std::int64_t step, double wall_time, std::span<const std::pair<std::string_view, double>> values);
  void add_histogram(std::int64_t step, double wall_time, std::string_view tag, const EventHistogram& histogram);

 private:
  void append(std::string_view event);
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

/// One value read back.
struct EventValue {
  std::int64_t step = 0;
  std::string tag;
  double value = 0.0;           // of a scalar
  std::vector<double> buckets;  // of a histogram
};
/// All values of a file, in order. Throws Error at a wrong checksum or length, naming the file and the offset.
std::vector<EventValue> read_event_file(const std::string& path);

}  // namespace junto
