// How many tokens of a prompt go through the model in one call. Each call asks for nearly all experts of each layer, so
// of a streamed model it reads those that memory lacks once, however many its rows are: a call is long enough when its
// rows compute for as long as that takes. It is cut to the memory that its activations may take.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "model/weights.h"

namespace junto {

/// Where all weights are in memory, and at least elsewhere: products gain little from more rows.
inline constexpr int kPromptChunk = 512;

/// disk_s: reading all experts that memory lacks; row_s: computing one row. `fits`: the rows that memory allows, at
/// least 1. Never changes a bit of the result.
int choose_prompt_chunk(double disk_s, double row_s, int fits);

/// The most rows, in steps of 32, whose working_bytes() are at most `bytes`; 32 where nothing fits.
int rows_that_fit(const Model& model, ActivationType activations, int threads, std::int64_t bytes);

/// Seconds that a row of a long call takes in memory, by the time of one matrix of the model and `bytes_per_row`, the
/// weights that a row goes through.
double measure_row_s(const Model& model, ThreadPool& pool, ActivationType activations, std::int64_t bytes_per_row);

/// working_bytes() of a prompt's calls before the model is loaded for work: `rows` 0 is kPromptChunk.
std::int64_t prompt_bytes(const Checkpoint& checkpoint, ActivationType activations, int rows, int threads);

}  // namespace junto
