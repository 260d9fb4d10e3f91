// Progress of long work on stderr: how far, how fast, how long still.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace junto {

/// kLine redraws one line, ten times a second; kPlain prints a line every five seconds, for logs; kAuto is kLine on a
/// terminal and kPlain elsewhere.
enum class ProgressStyle { kAuto, kLine, kPlain, kSilent };

/// What kAuto means from now on; `--json` sets kSilent.
void set_default_progress_style(ProgressStyle style);

/// "640 tokens", "12.3k tokens", "1.53 GB": three significant digits, or all of a whole number below 1000, and SI
/// prefixes.
std::string format_quantity(double value, std::string_view unit);

/// "0:07", "12:40", "3:05:00".
std::string format_duration(double seconds);

/// `label  42 %  61.2 MB of 145 MB  210 MB/s  0:23 left`; without percentage and time left where `total` is 0, and
/// without a rate before anything is done.
std::string format_progress(std::string_view label, std::uint64_t done, std::uint64_t total, std::string_view unit,
                            double elapsed_s);

/// One piece of work of `total` units (0: not known). advance() may be called from any thread, and costs an atomic
/// addition and a look at the clock. Work that ends within the first interval prints nothing.
class Progress {
 public:
  Progress(std::string label, std::uint64_t total, std::string unit, ProgressStyle style = ProgressStyle::kAuto);
  /// Writes to `out` and takes the time, in seconds, from `clock`.
  Progress(std::string label, std::uint64_t total, std::string unit, ProgressStyle style, std::FILE* out,
           std::function<double()> clock);
  /// Ends a line that was begun, so that what follows starts on its own.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t units = 1);

 private:
  void print(double now_s);

  const std::string label_;
  const std::uint64_t total_;
  const std::string unit_;
  const ProgressStyle style_;  // never kAuto
  std::FILE* const out_;
  const std::function<double()> clock_;
  const double interval_s_;
  const double start_s_;
  std::atomic<std::uint64_t> done_{0};
  std::atomic<double> next_s_;
  std::mutex printing_;
  bool printed_ = false;
};

}  // namespace junto
