#include "model/adapter.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "format/gguf.h"
#include "format/safetensors.h"
#include "model/adapter_modules.h"
#include "model/rope.h"

namespace junto {
namespace {

constexpr std::size_t kMaxAdapterConfigBytes = std::size_t{1} << 20;

// 7 of "blk.3.ffn_up.7.weight"; nothing of a matrix that is no expert's.
std::optional<std::int64_t> expert_of(std::string_view canonical) {
  if (!canonical.ends_with(".weight")) return std::nullopt;
  canonical.remove_suffix(std::string_view(".weight").size());
  const std::string_view last = canonical.substr(canonical.rfind('.') + 1);  // without a dot: all of it
  std::int64_t expert = -1;
  const char* end = last.data() + last.size();
  const auto [stop, error] = std::from_chars(last.data(), end, expert);
  return error == std::errc() && stop == end ? std::optional(expert) : std::nullopt;
}

// Everything that an adapter says of one model.
class AdapterReader {
 public:
  AdapterReader(const Checkpoint& base, const ModelSource& source, AdapterTable& table)
      : base_(base), source_(source), sizes_(tensor_sizes(source.config)), table_(table) {}

  void read(const AdapterRequest& request);

 private:
  void read_gguf(const AdapterRequest& request);
  void read_peft(const std::string& directory, const AdapterRequest& request);
  void add(const AdapterRequest& request, const std::string& file, const AdapterModules& modules, bool gguf);
  std::vector<std::pair<std::string, AdapterUpdate::Pair>> parts_of(const std::string& file,
                                                                    const std::string& published,
                                                                    const LowRankPair& pair, bool gguf) const;
  Tensor in_order_of_base(const std::string& name, Tensor b) const;

  const Checkpoint& base_;
  const ModelSource& source_;
  const TensorSizes sizes_;
  AdapterTable& table_;
};

// llama.cpp's files hold the rows of q and k that rotate together as neighbours, published ones as halves of the head.
Tensor AdapterReader::in_order_of_base(const std::string& name, Tensor b) const {
  const bool q = name.ends_with(".attn_q.weight"), k = name.ends_with(".attn_k.weight");
  if (base_.kind != Checkpoint::Kind::kGguf || !source_.architecture->gguf_pairs_rows || (!q && !k)) return b;
  const auto block = std::strtoull(name.c_str() + std::string_view("blk.").size(), nullptr, 10);
  const auto* a = std::get_if<AttentionSpec>(&source_.config.blocks[block].mixer);
  if (!a || a->rope < 0 || source_.config.ropes[a->rope].style != RopeStyle::kInterleaved) return b;
  const int heads = q ? a->heads : a->kv_heads;
  if (b.shape[0] != std::int64_t{heads} * a->head_dim) return b;  // attach() refuses it
  const std::vector<std::int64_t> order = rotation_order(heads, a->head_dim, 0, source_.config.ropes[a->rope].dims,
                                                         RopeStyle::kHalf, RopeStyle::kInterleaved);
  const std::vector<float> rows = decode(b);
  std::vector<float> sorted(rows.size());
  const std::int64_t rank = b.shape[1];
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::copy_n(rows.begin() + order[i] * rank, rank, sorted.begin() + static_cast<std::int64_t>(i) * rank);
  }
  return make_tensor(b.shape, std::move(sorted));
}

// By canonical name: what renames and splits the model's matrices does the same to the rows of B.
std::vector<std::pair<std::string, AdapterUpdate::Pair>> AdapterReader::parts_of(const std::string& file,
                                                                                 const std::string& published,
                                                                                 const LowRankPair& pair,
                                                                                 bool gguf) const {
  Checkpoint alone;
  alone.path = file;
  alone.lazy.add(published, pair.b->tensor);
  const auto& rules = source_.architecture->tensors;
  const TensorTable canonical =
      gguf ? gguf_tensors(alone, source_.architecture->gguf_tensors, sizes_) : canonical_tensors(alone, rules, sizes_);
  if (canonical.empty()) fail(file, tensor_label(pair.b->name) + " is of no layer of " + base_.path);
  const Tensor& a = pair.a->tensor;
  std::vector<std::pair<std::string, AdapterUpdate::Pair>> out;
  const auto put = [&](std::string name, const Tensor& part_a, Tensor part_b) {
    out.emplace_back(std::move(name),
                     AdapterUpdate::Pair{pair.a->name, pair.b->name, part_a, std::move(part_b), pair.scale});
  };
  for (const auto& [name, b] : canonical) {
    if (b.cols() != pair.b->tensor.cols() || b.shape.size() < 2) {
      fail(file, tensor_label(pair.b->name) + " is of " + name + ", which is stored transposed: not supported");
    }
    const std::string stack = "_exps.weight";
    if (b.shape.size() == 3) {
      if (!name.ends_with(stack)) {
        fail(file, tensor_label(pair.b->name) + " has shape " + to_string(b.shape) + ", expected [N, r]");
      }
      for (std::int64_t e = 0; e < b.shape[0]; ++e) {
        put(name.substr(0, name.size() - stack.size()) + "." + std::to_string(e) + ".weight", slice(a, e), slice(b, e));
      }
      continue;
    }
    const std::optional<std::int64_t> expert = expert_of(name);
    if (a.shape.size() == 3 && (!expert || *expert >= a.shape[0])) {
      fail(file, tensor_label(pair.a->name) + " has shape " + to_string(a.shape) + ", expected [r, K]");
    }
    put(name, a.shape.size() == 3 ? slice(a, *expert) : a, gguf ? b : in_order_of_base(name, b));
  }
  return out;
}

void AdapterReader::add(const AdapterRequest& request, const std::string& file, const AdapterModules& modules,
                        bool gguf) {
  for (const auto& [module, content] : modules.of) {
    std::map<std::string, AdapterUpdate> updates;  // where a module is several matrices: each has all experts
    for (const auto& [expert, pair] : content.experts) {
      for (auto& [name, part] : parts_of(file, gguf ? module : module + ".weight", pair, gguf)) {
        part.scale *= request.scale;
        updates[name].pairs.push_back(std::move(part));
      }
    }
    for (auto& [name, update] : updates) {
      update.file = file;
      if (modules.router) update.router = {content.gate->name, content.gate->tensor, *modules.router};
      table_[name].push_back(std::move(update));
    }
  }
}

void AdapterReader::read_gguf(const AdapterRequest& request) {
  const std::string& path = request.path;
  const GgufFile file = open_gguf(path);
  const auto expect = [&](const char* key, std::string_view wanted) {
    const std::string found = file.metadata.required_string(key);
    if (found != wanted) {
      fail(path, std::string(key) + " is \"" + printable(found) + "\", expected \"" + std::string(wanted) + "\"");
    }
  };
  expect("general.type", "adapter");
  expect("adapter.type", "lora");
  if (base_.kind != Checkpoint::Kind::kGguf) {
    fail(path, "is an adapter of GGUF models, expected a PEFT directory for " + base_.path);
  }
  expect("general.architecture", base_.metadata.required_string("general.architecture"));
  const double alpha = file.metadata.number("adapter.lora.alpha", 0, 1e9);
  add(request, path, parse_gguf_modules(alpha, file.tensors, path), /*gguf=*/true);
}

void AdapterReader::read_peft(const std::string& directory, const AdapterRequest& request) {
  namespace fs = std::filesystem;
  const std::string path = (fs::path(directory) / "adapter_model.safetensors").string();
  if (!fs::exists(path) && fs::exists(fs::path(directory) / "adapter_model.bin")) {
    fail(directory, "holds PyTorch weights (adapter_model.bin), expected adapter_model.safetensors");
  }
  const std::string config_path = (fs::path(directory) / "adapter_config.json").string();
  const PeftConfig config =
      parse_peft_config(parse_json(read_text_file(config_path, kMaxAdapterConfigBytes), config_path), config_path);
  const SafetensorsFile file = open_safetensors(path);
  add(request, path, parse_peft_modules(config, file.tensors, path), /*gguf=*/false);
}

void AdapterReader::read(const AdapterRequest& request) {
  namespace fs = std::filesystem;
  const std::string& path = request.path;
  if (!fs::exists(path)) fail(path, "no such file or directory, expected a PEFT directory or a GGUF adapter");
  if (fs::is_directory(path)) return read_peft(path, request);
  const fs::path file(path);
  if (file.filename() == "adapter_model.safetensors") return read_peft(file.parent_path().string(), request);
  read_gguf(request);
}

}  // namespace

AdapterRequest parse_adapter_request(std::string_view text) {
  AdapterRequest request{std::string(text)};
  const std::size_t colon = text.rfind(':');
  if (std::filesystem::exists(request.path) || colon == std::string_view::npos) return request;
  const std::string_view number = text.substr(colon + 1);
  const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), request.scale);
  if (error != std::errc() || stop != number.data() + number.size() || !std::isfinite(request.scale)) {
    fail(text, "\"" + printable(number) + "\" after the colon is no scale, expected a number as in FILE:0.5");
  }
  request.path = text.substr(0, colon);
  return request;
}

AdapterTable read_adapters(std::span<const AdapterRequest> requests, const Checkpoint& base,
                           const ModelSource& source) {
  AdapterTable table;
  AdapterReader reader(base, source, table);
  for (const AdapterRequest& request : requests) reader.read(request);
  return table;
}

void AdapterOverlays::attach(std::string_view name, Linear& linear) {
  const auto found = table_.find(name);
  if (found == table_.end()) return;
  used_.emplace(name);
  const std::int64_t n = linear.weights.rows, k = linear.weights.cols;
  Overlays overlays;
  for (const AdapterUpdate& update : found->second) {
    const auto expect = [&](const std::string& tensor, const Shape& shape, const Shape& wanted) {
      if (shape == wanted) return;
      fail(update.file, tensor_label(tensor) + " has shape " + to_string(shape) + " for " + std::string(name) +
                            ", expected " + to_string(wanted));
    };
    std::vector<LowRank> experts;
    for (const AdapterUpdate::Pair& pair : update.pairs) {
      const std::int64_t rank = pair.a.rows();
      expect(pair.a_name, pair.a.shape, {rank, k});
      expect(pair.b_name, pair.b.shape, {n, rank});
      experts.push_back(make_low_rank(pair.a, pair.b, pair.scale, update.file));
    }
    if (!update.router) {
      overlays.emplace_back(std::move(experts.front()));
      continue;
    }
    if (name.ends_with(".attn_kv_b.weight")) {
      fail(update.file, tensor_label(update.router->name) + " is of " + std::string(name) +
                            ", which is split and multiplied transposed, expected no routed adapter there");
    }
    const RouterSpec& spec = update.router->spec;
    expect(update.router->name, update.router->weight.shape, {spec.experts, k});
    overlays.emplace_back(
        RoutedLowRank{.spec = spec, .router = decode(update.router->weight), .experts = std::move(experts)});
  }
  const std::size_t before = linear.bytes();
  linear.overlays = std::make_shared<const Overlays>(std::move(overlays));
  bytes_ += linear.bytes() - before;
}

void AdapterOverlays::refuse_unused() const {
  for (const auto& [name, updates] : table_) {
    if (used_.contains(name)) continue;
    fail(updates.front().file, tensor_label(updates.front().pairs.front().b_name) + " changes " + printable(name) +
                                   ", which is no linear layer that this model computes with");
  }
}

}  // namespace junto
