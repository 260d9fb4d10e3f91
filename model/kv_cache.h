// The paged KV cache: pages of 32 positions for all blocks of a model, shared between sequences and copied on write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "kernels/attention.h"
#include "model/config.h"
#include "tensor/dtype.h"

namespace junto {

/// Attention walks key blocks of this many positions, at absolute positions, whatever the batch looks like.
inline constexpr int kPagePositions = static_cast<int>(kPageKeys);

/// Parses `--kv f32|f16|q8_0`.
DType parse_kv_type(std::string_view name);

/// Where one block's rows stand in a page: keys [heads, 32, key_row_bytes], then values likewise. Keys by dimension
/// take the same room.
struct KvRegion {
  DType type = DType::kF16;
  int heads = 0;
  int key_dim = 0;
  int value_dim = 0;  // 0: values are the front of the keys (MLA), or there are none (convolution inputs)
  std::size_t key_row_bytes = 0;
  std::size_t value_row_bytes = 0;
  bool keys_by_dimension = false;  // a head's keys stand as score_page() reads them, not in rows
  std::size_t keys = 0;            // offset in the page
  std::size_t values = 0;          // offset in the page
};

struct KvLayout {
  DType type = DType::kF16;
  std::vector<KvRegion> blocks;
  std::size_t page_bytes = 0;

  std::size_t bytes_per_position() const { return page_bytes / kPagePositions; }
  bool operator==(const KvLayout& other) const;
};

/// Rows of attention are stored as `type`; convolution inputs as F32 always.
KvLayout make_kv_layout(const ModelConfig& config, DType type);

/// Bytes of one row of `dim` values: Q8_0 rows are padded to whole blocks.
std::size_t kv_row_bytes(DType type, int dim);

/// One page. `data` is 64-byte aligned.
struct KvPage {
  explicit KvPage(std::size_t bytes);
  KvPage(const KvPage& other);
  KvPage& operator=(const KvPage&) = delete;

  std::byte* key(const KvRegion& r, int head, int slot) {
    return data.get() + r.keys + (static_cast<std::size_t>(head) * kPagePositions + slot) * r.key_row_bytes;
  }
  std::byte* value(const KvRegion& r, int head, int slot) {
    return data.get() + r.values + (static_cast<std::size_t>(head) * kPagePositions + slot) * r.value_row_bytes;
  }
  const std::byte* key(const KvRegion& r, int head, int slot) const {
    return const_cast<KvPage*>(this)->key(r, head, slot);
  }
  const std::byte* value(const KvRegion& r, int head, int slot) const {
    return const_cast<KvPage*>(this)->value(r, head, slot);
  }

  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte[], Free> data;
  std::size_t bytes = 0;
};

}  // namespace junto
