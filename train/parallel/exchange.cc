#include "train/parallel/exchange.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace junto {
namespace {

/// Reduce-scatter and all-gather: member i sums the i-th part of the values, in the order of `group`.
template <class T>
void sum_of_group(Exchange& exchange, std::span<T> values, std::span<const int> group) {
  if (exchange.alone()) return;
  std::vector<int> everybody(static_cast<std::size_t>(exchange.ranks()));
  if (group.empty()) {
    std::iota(everybody.begin(), everybody.end(), 0);
    group = everybody;
  }
  const std::size_t members = group.size(), ranks = static_cast<std::size_t>(exchange.ranks());
  const auto part = [&](std::size_t i) {
    const std::size_t begin = values.size() * i / members, end = values.size() * (i + 1) / members;
    return values.subspan(begin, end - begin);
  };
  const auto place = static_cast<std::size_t>(std::find(group.begin(), group.end(), exchange.rank()) - group.begin());
  const std::span<T> own = part(place);
  std::vector<T> received(own.size() * members);
  std::vector<std::span<const std::byte>> send(ranks);
  std::vector<std::span<std::byte>> receive(ranks);
  for (std::size_t i = 0; i < members; ++i) {
    send[static_cast<std::size_t>(group[i])] = std::as_bytes(part(i));
    receive[static_cast<std::size_t>(group[i])] =
        std::as_writable_bytes(std::span<T>(received).subspan(i * own.size(), own.size()));
  }
  exchange.all_to_all(send, receive);
  std::copy_n(received.begin(), own.size(), own.begin());
  for (std::size_t i = 1; i < members; ++i) {
    const T* from = received.data() + i * own.size();
    for (std::size_t k = 0; k < own.size(); ++k) own[k] += from[k];
  }
  for (std::size_t i = 0; i < members; ++i) {
    const auto rank = static_cast<std::size_t>(group[i]);
    send[rank] = i == place ? std::span<const std::byte>() : std::as_bytes(own);
    receive[rank] = i == place ? std::span<std::byte>() : std::as_writable_bytes(part(i));
  }
  exchange.all_to_all(send, receive);
}

}  // namespace

void LocalExchange::all_to_all(std::span<const std::span<const std::byte>> send,
                               std::span<const std::span<std::byte>> receive) {
  if (!send[0].empty()) std::memcpy(receive[0].data(), send[0].data(), send[0].size());
}

Exchange& local_exchange() {
  static LocalExchange exchange;
  return exchange;
}

void sum_over_ranks(Exchange& exchange, std::span<float> values, std::span<const int> group) {
  sum_of_group(exchange, values, group);
}
void sum_over_ranks(Exchange& exchange, std::span<double> values, std::span<const int> group) {
  sum_of_group(exchange, values, group);
}

bool any_rank(Exchange& exchange, bool here) {
  double count = here ? 1.0 : 0.0;
  sum_over_ranks(exchange, std::span<double>(&count, 1));
  return count > 0.0;
}

}  // namespace junto
