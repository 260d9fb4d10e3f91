#include "cli/machine.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/fetch.h"

namespace junto {
namespace {

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

/// The value of "Name:   123 kB" in /proc/meminfo, in bytes; -1 where absent.
std::int64_t meminfo_bytes(const std::string& name) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::strtoll(line.c_str() + name.size() + 1, nullptr, 10) * 1024;
  }
  return -1;
}

/// A file that holds one number; kNoLimit where it is absent or says "max".
std::int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? value : kNoLimit;
}

/// The "inactive_file" of a cgroup: cached pages that it can drop.
std::int64_t droppable(const std::string& folder) {
  std::ifstream file(folder + "/memory.stat");
  std::string key;
  for (std::int64_t value = 0; file >> key >> value;) {
    if (key == "inactive_file" || key == "total_inactive_file") return value;
  }
  return 0;
}

/// Where a version of cgroups keeps its memory controller.
struct MemoryController {
  std::filesystem::path root;
  std::string limit, used;  // file names
};

/// What the limits of one cgroup and its parents leave.
std::int64_t left_in(const MemoryController& controller, const std::string& group) {
  std::int64_t least = kNoLimit;
  for (std::filesystem::path at = group.substr(1);; at = at.parent_path()) {
    const std::string folder = (controller.root / at).string();
    const std::int64_t limit = number_in(folder + controller.limit), used = number_in(folder + controller.used);
    // Version 1 writes "no limit" as a number that no machine has.
    if (limit < kNoLimit / 4 && used != kNoLimit) least = std::min(least, limit - used + droppable(folder));
    if (at.empty()) return least;
  }
}

/// What the limits of this process' cgroups leave: version 2, and version 1 where it has the memory controller.
std::int64_t cgroup_available() {
  const MemoryController second = {"/sys/fs/cgroup", "/memory.max", "/memory.current"};
  const MemoryController first = {"/sys/fs/cgroup/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes"};
  std::ifstream file("/proc/self/cgroup");
  std::int64_t least = kNoLimit;
  for (std::string line; std::getline(file, line);) {
    const std::size_t names = line.find(':'), group = line.find(":/", names + 1);
    if (names == std::string::npos || group == std::string::npos) continue;
    const std::string controllers = "," + line.substr(names + 1, group - names - 1) + ",";
    if (line.starts_with("0::/")) least = std::min(least, left_in(second, line.substr(group + 1)));
    if (controllers.find(",memory,") != std::string::npos) {
      least = std::min(least, left_in(first, line.substr(group + 1)));
    }
  }
  return std::max<std::int64_t>(0, least);
}

constexpr std::size_t kPieceWords = std::size_t{1} << 17;  // a mebibyte: what a thread reads at a time

Json read_limits(const std::string& path) {
  if (!std::filesystem::exists(path)) return Json::object();
  try {
    Json limits = parse_json(read_text_file(path, 1 << 16), path);
    if (limits.is_object()) return limits;
  } catch (const Error&) {  // a cache: measured anew
  }
  return Json::object();
}

}  // namespace

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  }
  return "unknown";
}

std::uint64_t sum_words(const std::uint64_t* words, std::size_t count) {
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 8 <= count; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

namespace {

std::atomic<std::int64_t> promised_bytes = 0;

}  // namespace

MemoryPromise::MemoryPromise(std::int64_t bytes) : bytes_(bytes) {
  promised_bytes += bytes;
}
MemoryPromise::~MemoryPromise() {
  promised_bytes -= bytes_;
}

std::int64_t available_memory_bytes() {
  const std::int64_t system = meminfo_bytes("MemAvailable");
  return std::max<std::int64_t>(0, std::min(system >= 0 ? system : kNoLimit, cgroup_available()) - promised_bytes);
}

std::int64_t resident_memory_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t all = 0, resident = 0;
  return file >> all >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

void ReadProbe::Free::operator()(std::uint64_t* memory) const {
  std::free(memory);
}

ReadProbe::ReadProbe(ThreadPool& pool) : pool_(pool) {
  constexpr std::size_t kPieceBytes = kPieceWords * sizeof(std::uint64_t);
  const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  std::size_t bytes = cache > 0 ? 2 * static_cast<std::size_t>(cache) : 0;
  bytes = std::clamp(bytes, std::size_t{64} << 20, std::size_t{768} << 20);
  bytes = std::min(bytes, static_cast<std::size_t>(available_memory_bytes() / 4));
  pieces_ = bytes / kPieceBytes;
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  pieces_ = pieces_ / 2 * 2;  // whole huge pages: with small ones, making them would take longer than reading them
  if (pieces_ > 0) memory_.reset(static_cast<std::uint64_t*>(std::aligned_alloc(kHugePage, pieces_ * kPieceBytes)));
  if (!memory_) return;
  madvise(memory_.get(), pieces_ * kPieceBytes, MADV_HUGEPAGE);
  pool_.for_each_block(static_cast<std::int64_t>(pieces_), [&](std::int64_t piece, int) {
    std::memset(memory_.get() + static_cast<std::size_t>(piece) * kPieceWords, 1, kPieceBytes);
  });
}

double ReadProbe::measure(double seconds) const {
  if (!memory_) return 0;
  std::vector<std::uint64_t> sums(pieces_);
  double best_s = std::numeric_limits<double>::infinity();
  for (double begin = now_s(), end = begin; end - begin < seconds;) {
    const double pass_begin = now_s();
    pool_.for_each_block(static_cast<std::int64_t>(pieces_), [&](std::int64_t piece, int) {
      const auto i = static_cast<std::size_t>(piece);
      sums[i] = sum_words(memory_.get() + i * kPieceWords, kPieceWords);
    });
    end = now_s();
    best_s = std::min(best_s, end - pass_begin);
  }
  // The sums are used, so that reading is not optimised away.
  for (const std::uint64_t sum : sums) {
    if (sum != sums[0]) fail("", "memory changed while its speed was measured");
  }
  return static_cast<double>(pieces_ * kPieceWords * sizeof(std::uint64_t)) / best_s;
}

double read_bandwidth(ThreadPool& pool) {
  constexpr double kFresh_s = 600, kKept_s = 86400;
  const std::string key = processor_name() + " / " + std::to_string(pool.threads()) + " threads";
  const double time_s = static_cast<double>(std::time(nullptr));
  std::string path;
  Json limits = Json::object();
  double best = 0, best_at = 0;
  try {
    path = cache_directory() + "/limits.json";
    limits = read_limits(path);
    const Json entry = limits.value(key, Json::object());
    const auto younger = [&](const char* name, double seconds) {
      const double age_s = time_s - entry.value(name, 0.0);
      return age_s >= 0 && age_s < seconds;
    };
    // Other programs slow a measurement down, never up: the best of a day is the machine's.
    if (younger("best_at", kKept_s)) best = entry.value("read_bytes_per_s", 0.0), best_at = entry.value("best_at", 0.0);
    if (younger("measured_at", kFresh_s) && best > 0) return best;
  } catch (const std::exception&) {  // no cache folder, or not what we wrote: measured anew
  }
  const double measured = ReadProbe(pool).measure();
  if (measured > best) best = measured, best_at = time_s;
  if (path.empty() || best <= 0) return best;
  limits[key] = {{"read_bytes_per_s", best}, {"best_at", best_at}, {"measured_at", time_s}};
  try {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    AtomicFile file(path);
    file.write(limits.dump(1) + "\n");
    file.commit();
  } catch (const std::exception&) {  // a read-only home costs 50 ms each time, no more
  }
  return best;
}

}  // namespace junto
