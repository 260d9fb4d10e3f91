// What waiting for the slowest device costs a model (analyze/device_step.h), and what of it the order of sequences
// saves.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analyze/device_step.h"
#include "train/data/token_text.h"
#include "train/nn/language_model.h"

namespace junto {

/// Where the tokens of sequences went. Routings of experts with weights alone.
struct SequenceRows {
  std::int64_t tokens = 0, routings = 0, experts = 0;
  std::vector<std::vector<double>> rows;  // [sequences][routings * experts]
  std::vector<float> several;             // [sequences, routings]: tokens that asked for several experts, free ones too

  std::int64_t sequences() const { return std::ssize(rows); }
};

/// Adds the first `spans` spans of `text`, `batch` at a time. No gradient.
void add_sequence_rows(const LanguageModel& model, const TokenIds& text, std::int64_t spans, std::int64_t batch,
                       std::int64_t length, SequenceRows& out);

/// In steps of `batch` sequences, in that order; each layer's experts on `devices` devices in stretches.
DeviceRows rows_in_order(const SequenceRows& of, std::span<const std::int64_t> order, std::int64_t batch, int devices);

/// {"device_rows", "ordered_device_rows"}: rows of the slowest device times `devices`, a token and layer (rows a token
/// where none waits), in shuffled steps (mean over eight shuffles) and in the order of the curriculum; "device_wait",
/// the share of the time that devices wait in shuffled ones; "order_saves", by which share the curriculum's rows are
/// fewer. Empty where there are fewer experts than devices.
Json measure_devices(const SequenceRows& of, std::int64_t batch, int devices, std::int64_t layers);

}  // namespace junto
