// Split GGUF files: part n of N is named <prefix>-0000n-of-0000N.gguf and carries split.no (from 0), split.count and
// split.tensors.count (of all parts). The first part has the model's metadata.
#include <cstdio>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "format/gguf.h"

namespace junto {
namespace {

std::string part_suffix(std::int64_t number, std::int64_t count) {
  char suffix[64];
  std::snprintf(suffix, sizeof suffix, "-%05lld-of-%05lld.gguf", static_cast<long long>(number + 1),
                static_cast<long long>(count));
  return suffix;
}

GgufFile open_one(const std::string& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  return parse_gguf(file->bytes(), path, file);
}

// Number and count of a part; count 1 for a file that is not split.
struct Part {
  std::int64_t number = 0;
  std::int64_t count = 1;
};

Part part_of(const Metadata& metadata) {
  if (!metadata.contains("split.count")) return {};
  Part part;
  part.count = metadata.integer("split.count", 0, 65535);
  if (part.count <= 1) return {};
  part.number = metadata.integer("split.no", 0, part.count - 1);
  return part;
}

GgufFile open_part(const std::string& path, std::int64_t number, std::int64_t count) {
  GgufFile file;
  try {
    file = open_one(path);
  } catch (const Error& error) {
    throw Error(std::string(error.what()) + " (part " + std::to_string(number + 1) + " of " + std::to_string(count) +
                ")");
  }
  const Part found = part_of(file.metadata);
  if (found.count != count || found.number != number) {
    fail(path, "holds part " + std::to_string(found.number + 1) + " of " + std::to_string(found.count) +
                   ", expected part " + std::to_string(number + 1) + " of " + std::to_string(count));
  }
  return file;
}

GgufFile join(const std::string& path, GgufFile opened) {
  const Part part = part_of(opened.metadata);
  const std::string suffix = part_suffix(part.number, part.count);
  if (!path.ends_with(suffix)) {
    fail(path, "holds part " + std::to_string(part.number + 1) + " of " + std::to_string(part.count) +
                   ", expected a file name that ends in " + suffix);
  }
  const std::string prefix = path.substr(0, path.size() - suffix.size());
  const auto part_path = [&](std::int64_t number) { return prefix + part_suffix(number, part.count); };
  GgufFile all = part.number == 0 ? std::move(opened) : open_part(part_path(0), 0, part.count);
  for (std::int64_t number = 1; number < part.count; ++number) {
    const GgufFile next = number == part.number ? std::move(opened) : open_part(part_path(number), number, part.count);
    for (const NamedTensor& tensor : next.tensors.all()) {
      if (!all.tensors.add(tensor.name, tensor.tensor)) {
        fail(part_path(number), tensor_label(tensor.name) + " is already in an earlier part");
      }
    }
  }
  const auto total = static_cast<std::int64_t>(all.tensors.size());
  if (all.metadata.contains("split.tensors.count") && all.metadata.integer("split.tensors.count") != total) {
    fail(part_path(0), "split.tensors.count is " + std::to_string(*all.metadata.integer("split.tensors.count")) +
                           ", but the parts hold " + std::to_string(total) + " tensors");
  }
  return all;
}

}  // namespace

GgufFile open_gguf(const std::string& path) {
  GgufFile file = open_one(path);
  if (part_of(file.metadata).count > 1) file = join(path, std::move(file));
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) file.metadata.erase(key);
  return file;
}

}  // namespace junto
