// A run of an experiment under way: its trainer, and what is noted of it for its row.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyze/device_step.h"
#include "train/loop/trainer.h"
#include "train/reproduce/measure.h"
#include "train/reproduce/run_arm.h"

namespace junto {

/// `experiment` and `texts` must outlive it.
class ArmRun {
 public:
  ArmRun(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts, const std::string& folder);

  bool done() const { return trainer_.done(); }
  /// One update, and what is measured after it.
  void step();
  /// The row (run_arm.h), when done; reads the text to test unless the run is for tuning.
  Json finish();

  /// Where the next update is made.
  RunPosition position() const { return trainer_.position(); }
  const Schedule& schedule() const { return trainer_.recipe().schedule; }

  /// Trainer and notes: `path` and a file beside it, each complete or not at all.
  void save(const std::string& path) const;
  void resume(const std::string& path);
  /// Goes on from where a run was whose recipe differs in name and schedule.flops alone.
  void branch_from(const std::string& path);

 private:
  void read_notes(const std::string& path);
  double late_violation() const;  // mean over the last quarter
  double late_churn() const;      // mean over the last third
  bool counts_devices() const;
  void add_devices(Json& metrics) const;

  const Experiment& experiment_;
  const std::vector<DomainText>& texts_;
  const Run run_;
  Trainer trainer_;
  Json curve_ = Json::object(), tune_ = Json::object();  // columns
  std::vector<RunPosition> positions_;                   // after each update
  std::vector<double> busiest_;                          // of each update
  Ledger since_;                                         // at the last point of `curve_`
  Measured before_;                                      // at the last point of `tune_`
  double seconds_ = 0.0, expert_seconds_ = 0.0;          // of the processor, all updates
  double wall_seconds_ = 0.0;                            // of this run alone
  DeviceRows device_rows_;                               // all updates; where the experiment asks
  double flops_of_trunk_ = 0.0;                          // executed by the run that this one branched from
};

/// Removes what save() wrote.
void forget_saved(const std::string& path);

}  // namespace junto
