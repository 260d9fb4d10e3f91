#include "train/parallel/mpi_exchange.h"

#ifdef JUNTO_MPI
#define OMPI_SKIP_MPICXX 1  // the C interface alone
#include <mpi.h>
#endif

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/thread_pool.h"

namespace junto {
namespace {

/// Whether an MPI launcher started this process, and how many with it where it says so; 0: none did.
int processes_launched() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"}) {
    if (const char* value = std::getenv(name)) return std::max(1, std::atoi(value));
  }
  return std::getenv("PMIX_RANK") != nullptr ? 1 : 0;
}

#ifdef JUNTO_MPI
constexpr std::size_t kMessageBytes = std::size_t{1} << 30;  // MPI counts in int

class MpiExchange final : public Exchange {
 public:
  MpiExchange() {
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks_);
  }
  ~MpiExchange() override { MPI_Finalize(); }
  MpiExchange(const MpiExchange&) = delete;
  MpiExchange& operator=(const MpiExchange&) = delete;

  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }

  // Messages to each rank apart: they may lie anywhere, and those of no bytes are not sent. MPI's own errors end the
  // run, its default.
  void all_to_all(std::span<const std::span<const std::byte>> send,
                  std::span<const std::span<std::byte>> receive) override {
    std::vector<MPI_Request> requests;
    const auto pieces = [&](std::size_t bytes, const auto& start) {
      for (std::size_t at = 0; at < bytes; at += kMessageBytes) {
        start(at, static_cast<int>(std::min(kMessageBytes, bytes - at)), &requests.emplace_back());
      }
    };
    for (int step = 1; step < ranks_; ++step) {
      const int from = (rank_ + step) % ranks_;
      const std::span<std::byte> into = receive[static_cast<std::size_t>(from)];
      pieces(into.size(), [&](std::size_t at, int bytes, MPI_Request* request) {
        MPI_Irecv(into.data() + at, bytes, MPI_BYTE, from, 0, MPI_COMM_WORLD, request);
      });
    }
    for (int step = 1; step < ranks_; ++step) {
      const int to = (rank_ - step + ranks_) % ranks_;
      const std::span<const std::byte> out = send[static_cast<std::size_t>(to)];
      pieces(out.size(), [&](std::size_t at, int bytes, MPI_Request* request) {
        MPI_Isend(out.data() + at, bytes, MPI_BYTE, to, 0, MPI_COMM_WORLD, request);
      });
    }
    const auto own = static_cast<std::size_t>(rank_);
    if (!send[own].empty()) std::memcpy(receive[own].data(), send[own].data(), send[own].size());
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
  }

 private:
  int rank_ = 0, ranks_ = 1;
};
#endif

}  // namespace

bool built_with_mpi() {
#ifdef JUNTO_MPI
  return true;
#else
  return false;
#endif
}

std::unique_ptr<Exchange> join_processes() {
  const int launched = processes_launched();
#ifdef JUNTO_MPI
  if (launched > 0) return std::make_unique<MpiExchange>();
#else
  if (launched > 1) {
    fail("junto-train", "is one of " + std::to_string(launched) +
                            " processes, expected one: it was built without MPI (scripts/setup train)");
  }
#endif
  return std::make_unique<LocalExchange>();
}

int threads_beside(const Exchange& exchange) {
  if (exchange.alone()) return available_cores();
  int beside = exchange.ranks();
#ifdef JUNTO_MPI
  MPI_Comm machine = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, exchange.rank(), MPI_INFO_NULL, &machine);
  MPI_Comm_size(machine, &beside);
  MPI_Comm_free(&machine);
#endif
  const int cores = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  return std::clamp(cores / beside, 1, available_cores());  // a launcher may have bound the process to fewer
}

void end_all_ranks(const Exchange& exchange, std::string_view message, int status) {
  if (exchange.rank() > 0) std::this_thread::sleep_for(std::chrono::seconds(1));  // rank 0 ends this one meanwhile
  const std::string of = exchange.rank() > 0 ? "process " + std::to_string(exchange.rank()) + ": " : "";
  std::fprintf(stderr, "junto: %s%.*s\n", of.c_str(), static_cast<int>(message.size()), message.data());
  std::fflush(nullptr);
#ifdef JUNTO_MPI
  if (!exchange.alone()) MPI_Abort(MPI_COMM_WORLD, status);
#endif
  std::_Exit(status);
}

}  // namespace junto
