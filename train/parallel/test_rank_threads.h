// Ranks as threads of one process, for tests: what several processes compute, without MPI.
#pragma once

#include <omp.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <exception>
#include <functional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "train/parallel/exchange.h"

namespace junto {

class RankThreads {
 public:
  /// Runs `body` on so many ranks at once; throws what the first of them threw.
  static void run(int ranks, const std::function<void(Exchange&)>& body) {
    RankThreads all(ranks);
    std::vector<std::exception_ptr> errors(static_cast<std::size_t>(ranks));
    {
      std::vector<std::jthread> threads;
      for (int rank = 0; rank < ranks; ++rank) {
        threads.emplace_back([&, rank] {
          omp_set_num_threads(1);
          One one(all, rank);
          try {
            body(one);
          } catch (...) {
            errors[static_cast<std::size_t>(rank)] = std::current_exception();
          }
          all.barrier_.arrive_and_drop();  // the others do not wait for this one
        });
      }
    }
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
  }

 private:
  struct One final : Exchange {
    One(RankThreads& of, int rank_number) : all(of), number(rank_number) {}
    int rank() const override { return number; }
    int ranks() const override { return static_cast<int>(all.sent_.size()); }
    void all_to_all(std::span<const std::span<const std::byte>> send,
                    std::span<const std::span<std::byte>> receive) override {
      all.sent_[static_cast<std::size_t>(number)].assign(send.begin(), send.end());
      all.barrier_.arrive_and_wait();
      bool fits = true;
      for (std::size_t from = 0; from < all.sent_.size(); ++from) {
        if (all.sent_[from].size() != all.sent_.size()) continue;  // it has ended
        const std::span<const std::byte> bytes = all.sent_[from][static_cast<std::size_t>(number)];
        fits &= bytes.size() == receive[from].size();
        if (fits && !bytes.empty()) std::memmove(receive[from].data(), bytes.data(), bytes.size());
      }
      all.barrier_.arrive_and_wait();
      if (!fits) throw std::logic_error("all_to_all: a rank sent another number of bytes than was expected");
    }
    RankThreads& all;
    int number;
  };

  explicit RankThreads(int ranks) : barrier_(ranks), sent_(static_cast<std::size_t>(ranks)) {}

  std::barrier<> barrier_;
  std::vector<std::vector<std::span<const std::byte>>> sent_;
};

}  // namespace junto
