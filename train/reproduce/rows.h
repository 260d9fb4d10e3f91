// Finished runs, each kept as a file as soon as it is there, so that an experiment goes on where it was stopped; and
// several processes share one experiment: a run belongs to the process that holds its lock.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "train/reproduce/run_arm.h"

namespace junto {

/// Where this program runs; results carry it, and rows of another one are not taken for this one's.
struct Machine {
  std::string processor, compiler, blas;
  std::string sources;  // hash of the code that trains and measures, as it was compiled
  int cores = 0, threads = 0;
};
Machine this_machine(int threads);
Json to_json(const Machine& machine);

/// Path of the row of a run in `folder`: its name holds a hash of all that its figures follow from: recipe, texts,
/// sources, processor, threads, what is measured when.
std::string row_path(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
                     const Machine& machine, const std::string& folder);

/// The row, where the run is finished.
std::optional<Json> kept_row(const std::string& path);
/// Complete or not at all.
void keep_row(const std::string& path, const Json& row);

/// The right to run a row, until it is destroyed or its process ends.
class RowClaim {
 public:
  /// `wait`: until another process gives it up. Throws Error where the folder cannot be written.
  RowClaim(const std::string& path, bool wait);
  ~RowClaim();
  RowClaim(const RowClaim&) = delete;
  RowClaim& operator=(const RowClaim&) = delete;
  bool held() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

}  // namespace junto
