// The processes that mpirun started, where Junto was built with MPI.
#pragma once

#include <memory>
#include <string_view>

#include "train/parallel/exchange.h"

namespace junto {

/// Whether this build can join other processes.
bool built_with_mpi();

/// Joins the processes that an MPI launcher started together with this one; alone where there was none, and then MPI is
/// not begun. Call it once, from the main thread; the last of its life ends MPI. Throws Error where a launcher started
/// several processes of a build without MPI: each would take itself for the only one.
std::unique_ptr<Exchange> join_processes();

/// Threads that a process should take of the machine's cores, which it shares with those beside it: an equal part.
int threads_beside(const Exchange& exchange);

/// Ends all processes of the run with `status`, for an error that others may not have: they would wait for this one for
/// ever. `message` goes to standard error, once where all have the same: rank 0 is the first to speak.
[[noreturn]] void end_all_ranks(const Exchange& exchange, std::string_view message, int status);

}  // namespace junto
