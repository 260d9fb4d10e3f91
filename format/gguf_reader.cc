#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "format/gguf.h"
#include "format/gguf_types.h"

namespace junto {
namespace {

constexpr std::size_t kMaxNameBytes = 65535;

// Walks the bytes of the header; every step is checked against what is left.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
    need(count, 1, what);
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  // Fails unless `count` items of at least `item_bytes` each can still follow.
  void need(std::uint64_t count, std::uint64_t item_bytes, std::string_view what) const {
    if (count <= left() / item_bytes) return;
    const std::string items =
        item_bytes == 1 ? " bytes" : " items of at least " + std::to_string(item_bytes) + " bytes";
    fail(file_, printable(what) + " at byte " + std::to_string(position_) + " holds " + std::to_string(count) + items +
                    ", expected to fit in the " + std::to_string(left()) + " bytes left of the file");
  }

  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::string string(std::string_view what) {
    const auto length = number<std::uint64_t>(what);
    const auto text = take(length, what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  std::uint64_t position_ = 0;
};

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& name, std::shared_ptr<const void> keep_alive)
      : bytes_(bytes), name_(name), keep_alive_(std::move(keep_alive)), in_(bytes, name_) {}

  GgufFile parse() {
    file_.metadata = Metadata(name_);
    read_version();
    const auto tensor_count = in_.number<std::uint64_t>("tensor count");
    const auto entry_count = in_.number<std::uint64_t>("metadata count");
    in_.need(entry_count, 13, "metadata count");  // key length, type, one byte
    for (std::uint64_t i = 0; i < entry_count; ++i) read_entry();
    read_alignment();
    read_tensors(tensor_count);
    return std::move(file_);
  }

 private:
  struct Info {
    std::string name;
    Tensor tensor;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };

  void read_version() {
    if (!looks_like_gguf(bytes_)) {
      const auto magic = bytes_.first(std::min<std::size_t>(bytes_.size(), 4));
      fail(name_, "is not a GGUF file: begins with \"" +
                      printable({reinterpret_cast<const char*>(magic.data()), magic.size()}) + "\", expected \"GGUF\"");
    }
    in_.take(4, "magic");
    file_.version = in_.number<std::uint32_t>("version");
    if (file_.version == 2 || file_.version == 3) return;
    const bool swapped = (file_.version & 0xffff) == 0 && file_.version != 0;
    if (swapped) fail(name_, "is a big-endian GGUF file, expected a little-endian one");
    fail(name_, "GGUF version is " + std::to_string(file_.version) + ", expected 2 or 3");
  }

  void read_entry() {
    std::string key = in_.string("a metadata key");
    if (key.size() > kMaxNameBytes)
      fail(name_, "a metadata key has " + std::to_string(key.size()) + " bytes, expected at most 65535");
    const auto type = in_.number<std::uint32_t>(key);
    MetadataValue value = type == kGgufArray ? read_array(key, 1) : read_scalar(key, type);
    if (!file_.metadata.add(key, std::move(value))) fail(name_, "metadata key " + printable(key) + " is given twice");
  }

  // Calls action.operator()<T>() for the type with that number.
  template <std::uint32_t N = 0, class Action>
  MetadataValue with_type(const std::string& key, std::uint32_t type, const Action& action) {
    if constexpr (N < kGgufTypeCount) {
      if (type == N) return action.template operator()<std::tuple_element_t<N, GgufTypes>>();
      return with_type<N + 1>(key, type, action);
    } else {
      fail(name_, printable(key) + " has value type " + std::to_string(type) + ", expected 0..12");
    }
  }

  MetadataValue read_scalar(const std::string& key, std::uint32_t type) {
    return with_type(key, type, [&]<class T>() -> MetadataValue {
      if constexpr (std::is_same_v<T, MetadataArray>) {
        return read_array(key, 1);
      } else if constexpr (std::is_same_v<T, std::string>) {
        return in_.string(key);
      } else if constexpr (std::is_same_v<T, bool>) {
        return read_bool(key);
      } else {
        return in_.number<T>(key);
      }
    });
  }

  bool read_bool(const std::string& key) {
    const auto value = in_.number<std::uint8_t>(key);
    if (value > 1) fail(name_, printable(key) + " is bool " + std::to_string(value) + ", expected 0 or 1");
    return value == 1;
  }

  MetadataValue read_array(const std::string& key, int depth) {
    if (depth > kGgufMaxArrayDepth) {
      fail(name_, printable(key) + " nests arrays deeper than " + std::to_string(kGgufMaxArrayDepth) + " levels");
    }
    const auto type = in_.number<std::uint32_t>(key);
    const auto count = in_.number<std::uint64_t>(key);
    return with_type(key, type, [&]<class T>() -> MetadataValue {
      std::vector<T> values;
      if constexpr (std::is_same_v<T, MetadataArray>) {
        in_.need(count, 12, key);  // element type and count
        values.reserve(count);
        for (std::uint64_t i = 0; i < count; ++i) values.push_back({read_array(key, depth + 1)});
      } else if constexpr (std::is_same_v<T, std::string>) {
        in_.need(count, 8, key);
        values.reserve(count);
        for (std::uint64_t i = 0; i < count; ++i) values.push_back(in_.string(key));
      } else if constexpr (std::is_same_v<T, bool>) {
        in_.need(count, 1, key);
        values.reserve(count);
        for (std::uint64_t i = 0; i < count; ++i) values.push_back(read_bool(key));
      } else {
        in_.need(count, sizeof(T), key);
        values.resize(count);
        const auto raw = in_.take(count * sizeof(T), key);
        if (!raw.empty()) std::memcpy(values.data(), raw.data(), raw.size());
      }
      return values;
    });
  }

  void read_alignment() {
    const std::string key = "general.alignment";
    if (!file_.metadata.contains(key)) {
      file_.alignment = kGgufDefaultAlignment;
      return;
    }
    const std::int64_t alignment = file_.metadata.integer(key, 8, std::int64_t{1} << 31);
    if ((alignment & (alignment - 1)) != 0) {
      fail(name_, key + " is " + std::to_string(alignment) + ", expected a power of two");
    }
    file_.alignment = static_cast<std::uint64_t>(alignment);
  }

  void read_tensors(std::uint64_t count) {
    in_.need(count, 24, "tensor count");  // name length, dimension count, type, offset
    std::vector<Info> infos;
    infos.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) infos.push_back(read_info());
    if (count > 0) in_.take(padding_to(in_.position(), file_.alignment), "padding before the tensor data");
    const auto data = bytes_.subspan(in_.position());
    refuse_overlaps(infos);
    for (Info& info : infos) {
      if (info.offset > data.size() || info.size > data.size() - info.offset) {
        fail(name_, tensor_label(info.name) + " has " + std::to_string(info.size) + " bytes at offset " +
                        std::to_string(info.offset) + ", expected to end within the " + std::to_string(data.size()) +
                        " bytes of tensor data");
      }
      info.tensor.bytes = data.subspan(info.offset, info.size);
      info.tensor.keep_alive = keep_alive_;
      if (!file_.tensors.add(info.name, std::move(info.tensor))) {
        fail(name_, tensor_label(info.name) + " is given twice");
      }
    }
  }

  Info read_info() {
    Info info;
    info.name = in_.string("a tensor name");
    const auto refuse = [&](const std::string& what) { fail(name_, tensor_label(info.name) + " has " + what); };
    if (info.name.size() > kMaxNameBytes)
      refuse("a name of " + std::to_string(info.name.size()) + " bytes, expected at most 65535");
    const auto dimensions = in_.number<std::uint32_t>(info.name);
    if (dimensions > kGgufMaxDimensions) refuse(std::to_string(dimensions) + " dimensions, expected at most 4");
    info.tensor.shape.resize(dimensions);
    for (std::uint32_t d = dimensions; d-- > 0;) {
      const auto dimension = in_.number<std::uint64_t>(info.name);
      if (dimension >> 62) refuse("a dimension of " + std::to_string(dimension) + ", expected less than 2^62");
      info.tensor.shape[d] = static_cast<std::int64_t>(dimension);
    }
    if (dimensions == 0) info.tensor.shape = {1};
    const auto type = in_.number<std::uint32_t>(info.name);
    if (type > 0xffff || !is_known_dtype(type)) refuse("type " + std::to_string(type) + ", which is unknown here");
    info.tensor.type = static_cast<DType>(type);
    info.offset = in_.number<std::uint64_t>(info.name);
    if (info.offset % file_.alignment != 0) {
      refuse("offset " + std::to_string(info.offset) + ", expected a multiple of " + std::to_string(file_.alignment));
    }
    info.size = checked_bytes(name_, info.name, info.tensor.type, info.tensor.shape);
    return info;
  }

  // Tensors that share bytes are the mark of a corrupted offset: such a model would load and speak nonsense.
  void refuse_overlaps(const std::vector<Info>& infos) {
    std::vector<const Info*> order;
    for (const Info& info : infos) {
      if (info.size > 0) order.push_back(&info);
    }
    std::sort(order.begin(), order.end(), [](const Info* a, const Info* b) { return a->offset < b->offset; });
    for (std::size_t i = 1; i < order.size(); ++i) {
      const Info& before = *order[i - 1];
      if (order[i]->offset - before.offset < before.size) {
        fail(name_, tensor_label(order[i]->name) + " at offset " + std::to_string(order[i]->offset) +
                        " overlaps tensor \"" + printable(before.name) + "\" of " + std::to_string(before.size) +
                        " bytes at offset " + std::to_string(before.offset));
      }
    }
  }

  std::span<const std::byte> bytes_;
  std::string name_;
  std::shared_ptr<const void> keep_alive_;
  Cursor in_;
  GgufFile file_;
};

}  // namespace

bool looks_like_gguf(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
}

GgufFile parse_gguf(std::span<const std::byte> bytes, const std::string& name, std::shared_ptr<const void> keep_alive) {
  return Parser(bytes, name, std::move(keep_alive)).parse();
}

}  // namespace junto
