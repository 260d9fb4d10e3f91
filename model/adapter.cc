#include "model/adapter.h"

#include <algorithm>
#include <cctype>
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
#include "model/rope.h"

namespace junto {
namespace {

constexpr std::size_t kMaxAdapterConfigBytes = std::size_t{1} << 20;

// A and B of one published matrix.
struct LowRankPair {
  const NamedTensor* a = nullptr;
  const NamedTensor* b = nullptr;
};
using LowRankPairs = std::map<std::string, LowRankPair, std::less<>>;  // by the published name of the matrix

void check_pairs(const std::string& file, const LowRankPairs& pairs) {
  if (pairs.empty()) fail(file, "has no low-rank tensors, expected pairs of A and B");
  for (const auto& [name, pair] : pairs) {
    const NamedTensor* there = pair.a ? pair.a : pair.b;
    if (!pair.a || !pair.b) {
      fail(file, tensor_label(there->name) + " stands alone, expected A and B of " + printable(name));
    }
    const Shape &a = pair.a->tensor.shape, &b = pair.b->tensor.shape;
    const bool fits = a.size() == b.size() && (a.size() == 2 || a.size() == 3) && a[a.size() - 2] == b.back() &&
                      b.back() > 0 && (a.size() == 2 || a[0] == b[0]);
    if (!fits) {
      fail(file, tensor_label(pair.a->name) + " has shape " + to_string(a) + " and " + tensor_label(pair.b->name) +
                     " " + to_string(b) + ", expected [r, K] and [N, r]");
    }
  }
}

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
  void add(const std::string& file, const std::string& published, const LowRankPair& pair, bool gguf, float scale);
  void put(std::string name, AdapterUpdate update);
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

void AdapterReader::put(std::string name, AdapterUpdate update) {
  table_[std::move(name)].push_back(std::move(update));
}

// What renames and splits the model's matrices does the same to the rows of B.
void AdapterReader::add(const std::string& file, const std::string& published, const LowRankPair& pair, bool gguf,
                        float scale) {
  Checkpoint alone;
  alone.path = file;
  alone.lazy.add(published, pair.b->tensor);
  const auto& rules = source_.architecture->tensors;
  const TensorTable canonical =
      gguf ? gguf_tensors(alone, source_.architecture->gguf_tensors, sizes_) : canonical_tensors(alone, rules, sizes_);
  if (canonical.empty()) fail(file, tensor_label(pair.b->name) + " is of no layer of " + base_.path);
  const Tensor& a = pair.a->tensor;
  const auto update_of = [&](const Tensor& part_a, Tensor part_b) {
    return AdapterUpdate{file, pair.a->name, pair.b->name, part_a, std::move(part_b), scale};
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
        put(name.substr(0, name.size() - stack.size()) + "." + std::to_string(e) + ".weight",
            update_of(slice(a, e), slice(b, e)));
      }
      continue;
    }
    const std::optional<std::int64_t> expert = expert_of(name);
    if (a.shape.size() == 3 && (!expert || *expert >= a.shape[0])) {
      fail(file, tensor_label(pair.a->name) + " has shape " + to_string(a.shape) + ", expected [r, K]");
    }
    put(name, update_of(a.shape.size() == 3 ? slice(a, *expert) : a, gguf ? b : in_order_of_base(name, b)));
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
  LowRankPairs pairs;
  for (const NamedTensor& tensor : file.tensors.all()) {
    const std::string_view name = tensor.name;
    const bool a = name.ends_with(".lora_a"), b = name.ends_with(".lora_b");
    if (!a && !b) fail(path, tensor_label(name) + " is unknown, expected names that end in .lora_a or .lora_b");
    LowRankPair& pair = pairs[std::string(name.substr(0, name.size() - std::string_view(".lora_a").size()))];
    (a ? pair.a : pair.b) = &tensor;
  }
  check_pairs(path, pairs);
  for (const auto& [name, pair] : pairs) {
    const double own = alpha == 0 ? 1 : alpha / static_cast<double>(pair.b->tensor.cols());
    add(path, name, pair, true, static_cast<float>(own * request.scale));
  }
}

/// What of adapter_config.json changes the function.
struct PeftConfig {
  double alpha = 0;
  bool square_root = false;                              // rsLoRA (arXiv 2312.03732): alpha / sqrt(r)
  std::vector<std::pair<std::string, double>> alpha_of;  // by the end of the module's name
};

double positive_number(const Json& value, const std::string& file, const std::string& field) {
  if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
    fail(file, field + " is " + printable(value.dump()) + ", expected a number above 0");
  }
  return value.get<double>();
}

bool is_set(const Json& config, const char* field) {
  const auto found = config.find(field);
  return found != config.end() && !found->is_null() && *found != false && !(found->is_structured() && found->empty());
}

PeftConfig parse_peft_config(const std::string& file) {
  const Json config = parse_json(read_text_file(file, kMaxAdapterConfigBytes), file);
  if (!config.is_object()) fail(file, "holds no object, expected one with peft_type and lora_alpha");
  const Json kind = config.value("peft_type", Json());
  if (kind != "LORA") fail(file, "peft_type is " + printable(kind.dump()) + ", expected \"LORA\"");
  for (const char* field : {"use_dora", "use_qalora", "layer_replication", "lora_bias", "modules_to_save"}) {
    if (is_set(config, field)) {
      fail(file, std::string(field) + " is " + printable(config[field].dump()) + ", expected plain LoRA without it");
    }
  }
  // These begin with another base: what the adapter was made for is not the published model.
  const Json init = config.value("init_lora_weights", Json(true));
  if (init.is_string() && init != "gaussian" && init != "eva" && init != "orthogonal") {
    fail(file, "init_lora_weights is " + printable(init.dump()) +
                   ", which changes the base's weights, expected true, false, \"gaussian\", \"eva\" or \"orthogonal\"");
  }
  PeftConfig out;
  out.alpha = positive_number(config.value("lora_alpha", Json()), file, "lora_alpha");
  out.square_root = is_set(config, "use_rslora");
  if (!is_set(config, "alpha_pattern")) return out;
  if (!config["alpha_pattern"].is_object()) fail(file, "alpha_pattern is no object, expected one of names and numbers");
  for (const auto& [name, value] : config["alpha_pattern"].items()) {
    const bool plain =
        std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.'; });
    if (!plain) fail(file, "alpha_pattern has \"" + printable(name) + "\", expected a module's name, no expression");
    out.alpha_of.emplace_back(name, positive_number(value, file, "alpha_pattern"));
  }
  return out;
}

// PEFT takes the first pattern that the module's name is or ends in after a dot.
double scale_of(const PeftConfig& config, std::string_view module, std::int64_t rank) {
  double alpha = config.alpha;
  for (const auto& [name, value] : config.alpha_of) {
    if (module == name || module.ends_with("." + name)) {
      alpha = value;
      break;
    }
  }
  const auto r = static_cast<double>(rank);
  return config.square_root ? alpha / std::sqrt(r) : alpha / r;
}

void AdapterReader::read_peft(const std::string& directory, const AdapterRequest& request) {
  namespace fs = std::filesystem;
  const std::string path = (fs::path(directory) / "adapter_model.safetensors").string();
  if (!fs::exists(path) && fs::exists(fs::path(directory) / "adapter_model.bin")) {
    fail(directory, "holds PyTorch weights (adapter_model.bin), expected adapter_model.safetensors");
  }
  const PeftConfig config = parse_peft_config((fs::path(directory) / "adapter_config.json").string());
  const SafetensorsFile file = open_safetensors(path);
  LowRankPairs pairs;
  for (const NamedTensor& tensor : file.tensors.all()) {
    std::string_view name = tensor.name;
    const std::string_view prefix = "base_model.model.";
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    bool known = false;
    for (const bool is_a : {true, false}) {
      for (const std::string_view end :
           {is_a ? ".lora_A.weight" : ".lora_B.weight", is_a ? ".lora_A.default.weight" : ".lora_B.default.weight"}) {
        if (known || !name.ends_with(end)) continue;
        known = true;
        LowRankPair& pair = pairs[std::string(name.substr(0, name.size() - end.size()))];
        (is_a ? pair.a : pair.b) = &tensor;
      }
    }
    if (!known) {
      fail(path,
           tensor_label(tensor.name) + " is unknown, expected names that end in .lora_A.weight or .lora_B.weight");
    }
  }
  check_pairs(path, pairs);
  for (const auto& [module, pair] : pairs) {
    if (pair.a->tensor.shape.size() != 2) {
      fail(path, tensor_label(pair.a->name) + " has shape " + to_string(pair.a->tensor.shape) + ", expected [r, K]");
    }
    const double own = scale_of(config, module, pair.b->tensor.cols());
    add(path, module + ".weight", pair, false, static_cast<float>(own * request.scale));
  }
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
    const std::int64_t rank = update.a.rows();
    const auto expect = [&](const std::string& tensor, const Shape& shape, const Shape& wanted) {
      if (shape == wanted) return;
      fail(update.file, tensor_label(tensor) + " has shape " + to_string(shape) + " for " + std::string(name) +
                            ", expected " + to_string(wanted));
    };
    expect(update.a_name, update.a.shape, {rank, k});
    expect(update.b_name, update.b.shape, {n, rank});
    overlays.emplace_back(make_low_rank(update.a, update.b, update.scale, update.file));
  }
  const std::size_t before = linear.bytes();
  linear.overlays = std::make_shared<const Overlays>(std::move(overlays));
  bytes_ += linear.bytes() - before;
}

void AdapterOverlays::refuse_unused() const {
  for (const auto& [name, updates] : table_) {
    if (used_.contains(name)) continue;
    fail(updates.front().file, tensor_label(updates.front().b_name) + " changes " + printable(name) +
                                   ", which is no linear layer that this model computes with");
  }
}

}  // namespace junto
