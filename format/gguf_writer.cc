#include <bit>
#include <set>
#include <type_traits>

#include "base/error.h"
#include "base/file.h"
#include "format/gguf.h"
#include "format/gguf_types.h"

namespace junto {
namespace {

constexpr std::size_t kMaxTensorNameBytes = 63;

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

// The header is built in memory: it is small beside the tensors, and its length must be known to place them.
class Header {
 public:
  const std::string& bytes() const { return bytes_; }

  template <class T>
  void number(T value) {
    static_assert(std::endian::native == std::endian::little);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  void string(std::string_view text) {
    number(std::uint64_t{text.size()});
    bytes_.append(text);
  }

  void entry(const std::string& key, const MetadataValue& value) {
    string(key);
    std::visit(
        [&]<class V>(const V& v) {
          number(IsVector<V>::value ? kGgufArray : type_of<V>());
          content(v);
        },
        value);
  }

 private:
  template <class V>
  static constexpr std::uint32_t type_of() {
    if constexpr (IsVector<V>::value) {
      return gguf_type_of<typename V::value_type>();
    } else {
      return gguf_type_of<V>();
    }
  }

  template <class V>
  void content(const V& v) {
    if constexpr (IsVector<V>::value) {
      number(type_of<V>());
      number(std::uint64_t{v.size()});
      for (const auto& element : v) element_content(static_cast<const typename V::value_type&>(element));
    } else {
      element_content(v);
    }
  }

  template <class T>
  void element_content(const T& element) {
    if constexpr (std::is_same_v<T, std::string>) {
      string(element);
    } else if constexpr (std::is_same_v<T, MetadataArray>) {
      std::visit([&](const auto& inner) { content(inner); }, element.value);
    } else {
      number(element);
    }
  }

  std::string bytes_;
};

std::uint64_t alignment_of(const Metadata& metadata, const std::string& path) {
  if (!metadata.contains("general.alignment")) return kGgufDefaultAlignment;
  const std::int64_t alignment = metadata.integer("general.alignment", 8, std::int64_t{1} << 31);
  if (!std::has_single_bit(static_cast<std::uint64_t>(alignment))) {
    fail(path, "general.alignment is " + std::to_string(alignment) + ", expected a power of two");
  }
  return static_cast<std::uint64_t>(alignment);
}

void check_tensor(const std::string& path, const TensorToWrite& tensor, std::set<std::string_view>& names) {
  const auto refuse = [&](const std::string& what) { fail(path, tensor_label(tensor.name) + " " + what); };
  if (!names.insert(tensor.name).second) refuse("is given twice");
  if (tensor.name.size() > kMaxTensorNameBytes) {
    refuse("has a name of " + std::to_string(tensor.name.size()) + " bytes, expected at most 63");
  }
  if (static_cast<std::uint32_t>(tensor.type) > 0xffff) {
    refuse("has type " + std::string(dtype_name(tensor.type)) + ", which GGUF does not have");
  }
  if (tensor.shape.empty() || tensor.shape.size() > kGgufMaxDimensions) {
    refuse("has shape " + to_string(tensor.shape) + ", expected one to four dimensions");
  }
}

}  // namespace

void write_gguf(const std::string& path, const Metadata& metadata, const std::vector<TensorToWrite>& tensors,
                const WriteProgress& progress) {
  const std::uint64_t alignment = alignment_of(metadata, path);
  Header header;
  header.number(std::uint32_t{0x46554747});  // "GGUF"
  header.number(std::uint32_t{3});
  header.number(std::uint64_t{tensors.size()});
  header.number(std::uint64_t{metadata.entries().size()});
  for (const auto& [key, value] : metadata.entries()) header.entry(key, value);

  std::set<std::string_view> names;
  std::vector<std::uint64_t> sizes;
  std::uint64_t offset = 0;
  std::uint64_t total_bytes = 0;
  for (const TensorToWrite& tensor : tensors) {
    check_tensor(path, tensor, names);
    sizes.push_back(checked_bytes(path, tensor.name, tensor.type, tensor.shape));
    header.string(tensor.name);
    header.number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t d = tensor.shape.size(); d-- > 0;) header.number(static_cast<std::uint64_t>(tensor.shape[d]));
    header.number(static_cast<std::uint32_t>(tensor.type));
    header.number(offset);
    total_bytes += sizes.back();
    offset += sizes.back() + padding_to(sizes.back(), alignment);
  }

  AtomicFile file(path);
  file.reserve(header.bytes().size() + alignment + offset);
  file.write(header.bytes());
  file.write_zeros(padding_to(file.size(), alignment));
  std::uint64_t done_bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    produce_exactly(path, tensors[i], sizes[i], [&](std::span<const std::byte> bytes) {
      file.write(bytes);
      done_bytes += bytes.size();
      if (progress) progress(done_bytes, total_bytes);
    });
    file.write_zeros(padding_to(sizes[i], alignment));
  }
  file.commit();
}

}  // namespace junto
