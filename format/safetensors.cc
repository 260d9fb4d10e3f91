#include "format/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "format/safetensors_header.h"

namespace junto {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr std::uint64_t kDataAlignment = 64;

// The tensors must follow each other from the first data byte to the last.
void check_layout(std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes, const std::string& name) {
  std::stable_sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t position = 0;
  for (const SafetensorsEntry& entry : entries) {
    const auto refuse = [&](const std::string& what) { fail(name, tensor_label(entry.name) + what); };
    if (entry.end < entry.begin || entry.end > data_bytes) {
      refuse(" has data_offsets [" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) +
             "], expected ascending offsets within the " + std::to_string(data_bytes) + " bytes of data");
    }
    const std::uint64_t size = checked_bytes(name, entry.name, entry.type, entry.shape);
    if (size != entry.end - entry.begin) {
      refuse(" has " + std::to_string(entry.end - entry.begin) + " bytes, expected " + std::to_string(size) +
             " for shape " + to_string(entry.shape) + " of " + std::string(safetensors_dtype(entry.type)));
    }
    if (entry.begin != position) {
      refuse(" begins at data byte " + std::to_string(entry.begin) + ", expected " + std::to_string(position) +
             " (tensors leave no holes and do not overlap)");
    }
    position = entry.end;
  }
  if (position != data_bytes) {
    fail(name, "tensors end at data byte " + std::to_string(position) + ", expected " + std::to_string(data_bytes));
  }
}

Tensor make_view(const SafetensorsEntry& entry, std::span<const std::byte> data,
                 std::shared_ptr<const void> keep_alive) {
  Tensor tensor{entry.type, entry.shape, data.subspan(entry.begin, entry.end - entry.begin), std::move(keep_alive)};
  const bool aligned = reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % block_bytes(entry.type) == 0;
  if (!aligned && !tensor.bytes.empty()) {
    // Old writers did not pad their headers: a pointer to such values may not be read through.
    auto copy = std::make_shared<std::vector<std::byte>>(tensor.bytes.begin(), tensor.bytes.end());
    tensor.bytes = *copy;
    tensor.keep_alive = std::move(copy);
  }
  return tensor;
}

// `text` as a JSON string.
std::string json_string(const std::string& path, const std::string& text) {
  try {
    return Json(text).dump();
  } catch (const nlohmann::detail::exception&) {
    fail(path, "\"" + printable(text) + "\" is not UTF-8, which names and metadata must be");
  }
}

// The whole header, padded so that the data behind it is aligned; `total_bytes` gets the size of the data.
std::string header_text(const std::string& path, const std::vector<TensorToWrite>& tensors,
                        const std::vector<std::uint64_t>& sizes, const SafetensorsMetadata& metadata,
                        std::uint64_t& total_bytes) {
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":{";
  for (std::size_t i = 0; i < metadata.size(); ++i) {
    text += (i == 0 ? "" : ",") + json_string(path, metadata[i].first) + ":" + json_string(path, metadata[i].second);
  }
  if (!metadata.empty()) text += '}';
  total_bytes = 0;
  std::set<std::string_view> names = {"__metadata__"};
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorToWrite& tensor = tensors[i];
    const std::string_view type = safetensors_dtype(tensor.type);
    if (tensor.name.empty()) fail(path, "a tensor has an empty name");
    if (!names.insert(tensor.name).second) fail(path, tensor_label(tensor.name) + " is given twice or reserved");
    if (type.empty()) {
      fail(path, tensor_label(tensor.name) + " has type " + std::string(dtype_name(tensor.type)) +
                     ", which safetensors does not have");
    }
    const std::uint64_t end = total_bytes + sizes[i];
    const Json entry = {{"dtype", type}, {"shape", tensor.shape}, {"data_offsets", {total_bytes, end}}};
    text += (text.size() > 1 ? "," : "") + json_string(path, tensor.name) + ":" + entry.dump();
    total_bytes = end;
  }
  text += '}';
  while ((sizeof(std::uint64_t) + text.size()) % kDataAlignment != 0) text += ' ';
  if (text.size() > kMaxHeaderBytes) {
    fail(path, "header has " + std::to_string(text.size()) + " bytes, expected at most 100000000");
  }
  return text;
}

}  // namespace

SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, const std::string& name,
                                  std::shared_ptr<const void> keep_alive) {
  std::uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) {
    fail(name, "has " + std::to_string(bytes.size()) + " bytes, expected at least the 8 of a safetensors header size");
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - sizeof header_bytes) {
    fail(name, "safetensors header size is " + std::to_string(header_bytes) + ", expected at most " +
                   std::to_string(std::min<std::uint64_t>(kMaxHeaderBytes, bytes.size() - sizeof header_bytes)));
  }
  const auto text = bytes.subspan(sizeof header_bytes, header_bytes);
  const auto data = bytes.subspan(sizeof header_bytes + header_bytes);
  SafetensorsHeader header = parse_safetensors_header({reinterpret_cast<const char*>(text.data()), text.size()}, name);
  check_layout(header.entries, data.size(), name);
  SafetensorsFile file;
  file.metadata = std::move(header.metadata);
  for (const SafetensorsEntry& entry : header.entries) {
    file.tensors.add(entry.name, make_view(entry, data, keep_alive));
  }
  return file;
}

SafetensorsFile open_safetensors(const std::string& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  return parse_safetensors(file->bytes(), path, file);
}

void write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                       const SafetensorsMetadata& metadata, const WriteProgress& progress) {
  std::vector<std::uint64_t> sizes;
  for (const TensorToWrite& tensor : tensors) {
    sizes.push_back(checked_bytes(path, tensor.name, tensor.type, tensor.shape));
  }
  std::uint64_t total_bytes = 0;
  const std::string text = header_text(path, tensors, sizes, metadata, total_bytes);
  AtomicFile file(path);
  const std::uint64_t header_bytes = text.size();
  file.reserve(sizeof header_bytes + header_bytes + total_bytes);
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(text);
  std::uint64_t done_bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    produce_exactly(path, tensors[i], sizes[i], [&](std::span<const std::byte> bytes) {
      file.write(bytes);
      done_bytes += bytes.size();
      if (progress) progress(done_bytes, total_bytes);
    });
  }
  file.commit();
}

}  // namespace junto
