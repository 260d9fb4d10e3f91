// A sequence's state, as a value: fork it (copy: pages are shared until written), truncate it, save it, restore it in
// another process.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/kv_cache.h"
#include "moe/routing_policy.h"

namespace junto {

/// Token of a row that came as an embedding.
inline constexpr std::int32_t kNoToken = -1;

struct Sequence {
  std::vector<std::int32_t> tokens;            // one per position
  std::vector<std::shared_ptr<KvPage>> pages;  // page i holds positions 32 i .. 32 i + 31
  RoutingPolicy policy;
  std::map<std::string, std::vector<float>> carries;     // named router state that travels between layers or tokens
  std::map<std::string, std::vector<std::byte>> states;  // saved state of others: the sampler's, a generator's

  std::int64_t length() const { return static_cast<std::int64_t>(tokens.size()); }
};

/// Makes the page of `position` exist and belong to this sequence alone.
KvPage& writable_page(Sequence& sequence, const KvLayout& layout, std::int64_t position);

/// Forgets positions from `length` on. Throws Error where the sequence is shorter.
void truncate(Sequence& sequence, std::int64_t length);

/// Bytes of the state, KV rows included. `fingerprint` is the model's.
std::vector<std::byte> save_sequence(const Sequence& sequence, const KvLayout& layout, std::uint64_t fingerprint);

/// The inverse. Throws Error `where: ...` where the bytes are cut, corrupt, of another model or another KV type.
Sequence restore_sequence(std::span<const std::byte> bytes, const KvLayout& layout, std::uint64_t fingerprint,
                          std::string_view where);

/// Bytes of KV pages that the sequence holds, shared ones included.
std::size_t kv_bytes(const Sequence& sequence);

}  // namespace junto
