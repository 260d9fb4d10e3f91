#include "train/parallel/parted_parameters.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "train/parallel/total_of_ranks.h"

namespace junto {
namespace {

/// Where `expert` stands among `held`, ascending; -1 where it is not there.
std::int64_t place_among(const std::vector<std::int32_t>& held, std::int32_t expert) {
  const auto found = std::lower_bound(held.begin(), held.end(), expert);
  return found != held.end() && *found == expert ? found - held.begin() : -1;
}

/// Values of one expert, all its rows.
std::int64_t values_of_expert(const FlatLayout& layout) {
  std::int64_t sum = 0;
  for (const FlatLayout::Part& part : layout.parts) sum += part.parted ? part.row_size : 0;
  return sum;
}

/// The rows at `place`, from the flat array to `buffer` or back. Returns what follows in the buffer.
float* pack(const FlatLayout& layout, const float* flat, std::int64_t place, float* buffer) {
  for (const FlatLayout::Part& part : layout.parts) {
    if (part.parted) buffer = std::copy_n(flat + part.offset + place * part.row_size, part.row_size, buffer);
  }
  return buffer;
}
const float* unpack(const FlatLayout& layout, const float* buffer, std::int64_t place, float* flat) {
  for (const FlatLayout::Part& part : layout.parts) {
    if (!part.parted) continue;
    std::copy_n(buffer, part.row_size, flat + part.offset + place * part.row_size);
    buffer += part.row_size;
  }
  return buffer;
}

using Buffers = std::vector<std::vector<float>>;  // [ranks]

void exchange_buffers(Exchange& exchange, const Buffers& out, Buffers& in) {
  std::vector<std::span<const std::byte>> send;
  std::vector<std::span<std::byte>> receive;
  for (const std::vector<float>& buffer : out) send.push_back(std::as_bytes(std::span(buffer)));
  for (std::vector<float>& buffer : in) receive.push_back(std::as_writable_bytes(std::span(buffer)));
  exchange.all_to_all(send, receive);
}

void copy_shared_parts(const FlatLayout& from, const FlatLayout& to, const float* source, float* target) {
  for (std::size_t p = 0; p < from.parts.size(); ++p) {
    const FlatLayout::Part &old = from.parts[p], &now = to.parts[p];
    if (!old.parted) std::copy_n(source + old.offset, old.rows * old.row_size, target + now.offset);
  }
}

/// Of which every rank has the sum; `gradient` is the flat array.
void sum_shared_parts(Exchange& exchange, const FlatLayout& layout, float* gradient) {
  std::vector<float> buffer;
  for (const FlatLayout::Part& part : layout.parts) {
    if (!part.parted)
      buffer.insert(buffer.end(), gradient + part.offset, gradient + part.offset + part.rows * part.row_size);
  }
  sum_over_ranks(exchange, std::span<float>(buffer));
  const float* from = buffer.data();
  for (const FlatLayout::Part& part : layout.parts) {
    if (part.parted) continue;
    std::copy_n(from, part.rows * part.row_size, gradient + part.offset);
    from += part.rows * part.row_size;
  }
}

/// Every pair of ranks exchanges the experts that both hold.
void sum_experts(const ExpertShare& share, const FlatLayout& layout, float* gradient) {
  const int rank = share.exchange->rank(), ranks = share.exchange->ranks();
  const auto size = static_cast<std::size_t>(values_of_expert(layout));
  const auto both = [&](int other, std::int32_t expert) {
    return other != rank && place_among(share.held[static_cast<std::size_t>(other)], expert) >= 0;
  };
  Buffers out(static_cast<std::size_t>(ranks)), in(out);
  for (int other = 0; other < ranks; ++other) {
    std::vector<float>& buffer = out[static_cast<std::size_t>(other)];
    for (std::size_t place = 0; place < share.own.size(); ++place) {
      if (!both(other, share.own[place])) continue;
      buffer.resize(buffer.size() + size);
      pack(layout, gradient, static_cast<std::int64_t>(place), buffer.data() + buffer.size() - size);
    }
    in[static_cast<std::size_t>(other)].resize(buffer.size());
  }
  exchange_buffers(*share.exchange, out, in);
  std::vector<std::size_t> at(static_cast<std::size_t>(ranks));
  std::vector<float> sum(size), here(size);
  for (std::size_t place = 0; place < share.own.size(); ++place) {
    pack(layout, gradient, static_cast<std::int64_t>(place), here.data());
    std::fill(sum.begin(), sum.end(), 0.0f);
    std::vector<std::int32_t> holders = share.placement.ranks_of_expert[static_cast<std::size_t>(share.own[place])];
    std::sort(holders.begin(), holders.end());
    for (const std::int32_t holder : holders) {
      const auto from = static_cast<std::size_t>(holder);
      const float* values = holder == rank ? here.data() : in[from].data() + at[from];
      if (holder != rank) at[from] += size;
      for (std::size_t i = 0; i < size; ++i) sum[i] += values[i];
    }
    unpack(layout, sum.data(), static_cast<std::int64_t>(place), gradient);
  }
}

}  // namespace

FlatLayout flat_layout(const Parameters& parameters, std::int64_t own) {
  FlatLayout layout;
  for (const Parameter& parameter : parameters.all()) {
    FlatLayout::Part part{.offset = layout.size, .rows = 1, .row_size = 1, .parted = parameter.whole_rows > 0};
    part.rows = part.parted ? own : parameter.value.size(0);
    for (std::int64_t d = 1; d < parameter.value.dim(); ++d) part.row_size *= parameter.value.size(d);
    layout.size += padded(part.rows * part.row_size);
    layout.parts.push_back(part);
  }
  return layout;
}

at::Tensor moved_flat(const at::Tensor& flat, const Parameters& parameters, const ExpertShare& from,
                      const ExpertShare& to) {
  const FlatLayout old = flat_layout(parameters, std::ssize(from.own)),
                   now = flat_layout(parameters, std::ssize(to.own));
  const int rank = from.exchange->rank(), ranks = from.exchange->ranks();
  const auto size = static_cast<std::size_t>(values_of_expert(old));
  const at::Tensor out = at::zeros({now.size}, flat.options());
  const float* source = flat.data_ptr<float>();
  float* target = out.data_ptr<float>();
  copy_shared_parts(old, now, source, target);
  // Rank `holder` gets `expert` from the rank that served it so far.
  const auto travels = [&](std::int32_t expert, int sender, int holder) {
    return sender != holder && place_among(to.held[static_cast<std::size_t>(holder)], expert) >= 0 &&
           server_of(from.placement, expert, holder) == sender;
  };
  Buffers send(static_cast<std::size_t>(ranks)), receive(send);
  for (std::int32_t expert = 0; expert < from.experts(); ++expert) {
    for (int other = 0; other < ranks; ++other) {
      if (travels(expert, rank, other)) {
        std::vector<float>& buffer = send[static_cast<std::size_t>(other)];
        buffer.resize(buffer.size() + size);
        pack(old, source, place_among(from.own, expert), buffer.data() + buffer.size() - size);
      }
      std::vector<float>& buffer = receive[static_cast<std::size_t>(other)];
      if (travels(expert, other, rank)) buffer.resize(buffer.size() + size);
    }
  }
  exchange_buffers(*from.exchange, send, receive);
  std::vector<std::size_t> at(static_cast<std::size_t>(ranks));
  std::vector<float> kept(size);
  for (std::size_t place = 0; place < to.own.size(); ++place) {
    const std::int32_t expert = to.own[place];
    const auto server = static_cast<std::size_t>(server_of(from.placement, expert, rank));
    const float* values = kept.data();
    if (server == static_cast<std::size_t>(rank)) {
      pack(old, source, place_among(from.own, expert), kept.data());
    } else {
      values = receive[server].data() + at[server];
      at[server] += size;
    }
    unpack(now, values, static_cast<std::int64_t>(place), target);
  }
  return out;
}

at::Tensor gathered_flat(const at::Tensor& flat, const Parameters& parameters, const ExpertShare& share) {
  Placement first{.version = 0, .ranks = share.placement.ranks, .ranks_of_expert = {}};
  first.ranks_of_expert.assign(static_cast<std::size_t>(share.experts()), {0});
  return moved_flat(flat, parameters, share, *make_expert_share(std::move(first), *share.exchange));
}

at::Tensor part_of_flat(const at::Tensor& whole, const Parameters& parameters, const ExpertShare& share) {
  const FlatLayout all = flat_layout(parameters, share.experts()), own = flat_layout(parameters, std::ssize(share.own));
  TORCH_CHECK(whole.numel() == all.size, "part_of_flat: ", whole.numel(), " values, expected ", all.size);
  const at::Tensor out = at::zeros({own.size}, whole.options());
  copy_shared_parts(all, own, whole.data_ptr<float>(), out.data_ptr<float>());
  std::vector<float> buffer(static_cast<std::size_t>(values_of_expert(all)));
  for (std::size_t place = 0; place < share.own.size(); ++place) {
    pack(all, whole.data_ptr<float>(), share.own[place], buffer.data());
    unpack(own, buffer.data(), static_cast<std::int64_t>(place), out.data_ptr<float>());
  }
  return out;
}

void sum_parted_gradients(Parameters& parameters, const ExpertShare& share, float factor) {
  const FlatLayout layout = flat_layout(parameters, std::ssize(share.own));
  at::Tensor gradients = parameters.gradients();
  sum_shared_parts(*share.exchange, layout, gradients.data_ptr<float>());
  sum_experts(share, layout, gradients.data_ptr<float>());
  gradients.mul_(static_cast<double>(factor));
}

double parted_gradient_norm(const Parameters& parameters, const ExpertShare& share) {
  const FlatLayout layout = flat_layout(parameters, std::ssize(share.own));
  const float* gradient = parameters.gradients().data_ptr<float>();
  double shared = 0.0, experts = 0.0;
  for (const FlatLayout::Part& part : layout.parts) {
    if (!part.parted) {
      shared += sum_of_squares(gradient + part.offset, padded(part.rows * part.row_size));
      continue;
    }
    for (std::size_t place = 0; place < share.own.size(); ++place) {
      const std::vector<std::int32_t>& holders =
          share.placement.ranks_of_expert[static_cast<std::size_t>(share.own[place])];
      if (*std::min_element(holders.begin(), holders.end()) != share.exchange->rank()) continue;
      experts +=
          sum_of_squares(gradient + part.offset + static_cast<std::int64_t>(place) * part.row_size, part.row_size);
    }
  }
  sum_over_ranks(*share.exchange, std::span<double>(&experts, 1));
  return std::sqrt(shared + experts);
}

}  // namespace junto
