#include "model/kv_cache.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "base/error.h"
#include "base/large_pages.h"

namespace junto {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Memory of a page of the cache. Decoding at a long context reads all of them: in large pages of the system where it
// gives them (advice only), and without rounding up, since a page of the cache is a few of those at most.
std::byte* page_memory(std::size_t bytes) {
  const std::size_t alignment = bytes >= kLargePage ? kLargePage : kAlignment;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, aligned(bytes > 0 ? bytes : 1)) != 0) throw std::bad_alloc();
  if (bytes >= kLargePage) advise_large_pages(memory, bytes / kLargePage * kLargePage);
  return static_cast<std::byte*>(memory);
}

KvRegion region_of(const MixerSpec& mixer, DType type, std::int64_t hidden_size) {
  KvRegion r;
  r.type = type;
  if (const auto* a = std::get_if<AttentionSpec>(&mixer)) {
    r.heads = a->kv_heads;
    r.key_dim = r.value_dim = a->head_dim;
    r.keys_by_dimension = true;
  } else if (const auto* m = std::get_if<MlaSpec>(&mixer)) {
    r.heads = 1;
    r.key_dim = m->kv_rank + m->rope_dim;
  } else if (const auto* e = std::get_if<ExpertAttentionSpec>(&mixer)) {
    r.heads = e->attention.kv_heads;
    r.key_dim = r.value_dim = e->attention.head_dim;
    r.keys_by_dimension = true;
  } else {
    r.type = DType::kF32;
    r.heads = 1;
    r.key_dim = static_cast<int>(hidden_size);
  }
  return r;
}

}  // namespace

DType parse_kv_type(std::string_view name) {
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "q8_0") return DType::kQ8_0;
  fail("--kv", "is " + printable(name) + ", expected f32, f16 or q8_0");
}

std::size_t kv_row_bytes(DType type, int dim) {
  const std::int64_t block = block_values(type);
  return bytes_of(type, (dim + block - 1) / block * block);
}

KvLayout make_kv_layout(const ModelConfig& config, DType type) {
  KvLayout layout;
  layout.type = type;
  for (const BlockSpec& block : config.blocks) {
    KvRegion r = region_of(block.mixer, type, config.hidden_size);
    r.key_row_bytes = kv_row_bytes(r.type, r.key_dim);
    r.value_row_bytes = r.value_dim > 0 ? kv_row_bytes(r.type, r.value_dim) : 0;
    r.keys = layout.page_bytes;
    r.values = r.keys + aligned(r.key_row_bytes * r.heads * kPagePositions);
    layout.page_bytes = r.values + aligned(r.value_row_bytes * r.heads * kPagePositions);
    layout.blocks.push_back(r);
  }
  return layout;
}

bool KvLayout::operator==(const KvLayout& other) const {
  if (type != other.type || page_bytes != other.page_bytes || blocks.size() != other.blocks.size()) return false;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const KvRegion& x = blocks[b];
    const KvRegion& y = other.blocks[b];
    if (x.type != y.type || x.heads != y.heads || x.key_dim != y.key_dim || x.value_dim != y.value_dim) return false;
  }
  return true;
}

// Zeroed: rows that are never written must hold numbers, since masked positions multiply them by 0.
KvPage::KvPage(std::size_t size) : data(page_memory(size)), bytes(size) {
  std::memset(data.get(), 0, size);
}

KvPage::KvPage(const KvPage& other) : data(page_memory(other.bytes)), bytes(other.bytes) {
  std::memcpy(data.get(), other.data.get(), bytes);
}

void KvPage::Free::operator()(std::byte* memory) const {
  std::free(memory);
}

}  // namespace junto
