// The way between the processes (ranks) of one training run. There is one operation, all-to-all, and all else is made
// of it: an implementation only moves bytes, and what is computed of them is computed here, in the order of ranks, so
// that every rank has the same bits, in every run. A hierarchical all-to-all is another implementation, nothing else.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace junto {

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual int rank() const = 0;   // 0 .. ranks() - 1
  virtual int ranks() const = 0;  // at least 1
  /// send[r] goes to rank r, receive[r] is filled with what rank r sends here: both [ranks], receive[r] of as many
  /// bytes as rank r sends, which the caller must know. Every rank calls it, all of them in the same order; from the
  /// main thread alone.
  virtual void all_to_all(std::span<const std::span<const std::byte>> send,
                          std::span<const std::span<std::byte>> receive) = 0;

  bool alone() const { return ranks() == 1; }
};

/// One process: what is sent is copied.
class LocalExchange final : public Exchange {
 public:
  int rank() const override { return 0; }
  int ranks() const override { return 1; }
  void all_to_all(std::span<const std::span<const std::byte>> send,
                  std::span<const std::span<std::byte>> receive) override;
};

/// The only one that a process needs which is alone.
Exchange& local_exchange();

/// values[i] of all ranks of `group` are summed in its order, each rank of it gets the sums. `group`: ascending, with
/// this rank in it; empty: all ranks. Every rank calls it, with a group that all of its members name.
void sum_over_ranks(Exchange& exchange, std::span<float> values, std::span<const int> group = {});
void sum_over_ranks(Exchange& exchange, std::span<double> values, std::span<const int> group = {});

/// Whether one rank says so: the same answer on all.
bool any_rank(Exchange& exchange, bool here);

}  // namespace junto
