#include "train/reproduce/rows.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "cli/machine.h"
#include "train/nn/blas.h"

namespace junto {

extern const char* const kTrainingSources;  // build/.../training_sources.cc, made by cmake/training_sources.cmake

namespace {
constexpr std::size_t kMaxRowBytes = 1 << 26;
}

Machine this_machine(int threads) {
  return {.processor = processor_name(),
          .compiler =
#ifdef __clang__
              "clang " __clang_version__,
#else
              "gcc " __VERSION__,
#endif
          .blas = describe_blas(),
          .sources = kTrainingSources,
          .cores = static_cast<int>(std::thread::hardware_concurrency()),
          .threads = threads};
}

Json to_json(const Machine& machine) {
  return {{"processor", machine.processor}, {"cores", machine.cores},     {"threads", machine.threads},
          {"compiler", machine.compiler},   {"sources", machine.sources}, {"blas", machine.blas}};
}

std::string row_path(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
                     const Machine& machine, const std::string& folder) {
  Json what = recipe_of(experiment, run, texts, "");
  what.erase("run");
  what["data"]["files"] = Json::array();  // where they stand does not matter
  for (const DomainText& text : texts) what["data"]["files"].push_back(text.sha256);
  what["measured"] = {run.tuning, experiment.log_every, experiment.evaluate_every, experiment.tune_spans,
                      experiment.test_spans};
  if (experiment.corruption.share > 0.0) {
    what["corruption"] = {experiment.corruption.share, experiment.corruption.token.value_or(-1)};
  }
  if (experiment.devices > 0) what["devices"] = experiment.devices;
  what["machine"] = {machine.sources, machine.processor, machine.threads, machine.blas, machine.compiler};
  Sha256 digest;
  digest.update(what.dump());
  std::string name = run.arm;
  if (run.tuning) name += "-rate" + Json(run.learning_rate).dump();
  return folder + "/" + name + "-seed" + std::to_string(run.seed) + "-" + digest.hex_digest().substr(0, 12) + ".json";
}

std::optional<Json> kept_row(const std::string& path) {
  if (!std::filesystem::exists(path)) return {};
  return parse_json(read_text_file(path, kMaxRowBytes), path);
}

void keep_row(const std::string& path, const Json& row) {
  AtomicFile file(path);
  file.write(row.dump() + "\n");
  file.commit();
}

RowClaim::RowClaim(const std::string& path, bool wait) {
  const std::string lock = path + ".lock";
  const int fd = open(lock.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
  if (fd < 0) fail(lock, std::string("cannot be made: ") + std::strerror(errno));
  if (flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) == 0) {
    fd_ = fd;
  } else {
    close(fd);
  }
}

RowClaim::~RowClaim() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace junto
