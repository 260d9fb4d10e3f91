#include "model/tensor_names.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

constexpr TensorRule kCommon[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"model.norm.bias", "output_norm.bias"},
    {"lm_head.weight", "output.weight"},
    {"lm_head.bias", "output.bias"},
    {"model.layers.#.input_layernorm.weight", "blk.#.attn_norm.weight"},
    {"model.layers.#.input_layernorm.bias", "blk.#.attn_norm.bias"},
    {"model.layers.#.post_attention_layernorm.weight", "blk.#.ffn_norm.weight"},
    {"model.layers.#.post_attention_layernorm.bias", "blk.#.ffn_norm.bias"},
    {"model.layers.#.self_attn.q_proj.weight", "blk.#.attn_q.weight"},
    {"model.layers.#.self_attn.k_proj.weight", "blk.#.attn_k.weight"},
    {"model.layers.#.self_attn.v_proj.weight", "blk.#.attn_v.weight"},
    {"model.layers.#.self_attn.o_proj.weight", "blk.#.attn_output.weight"},
    {"model.layers.#.self_attn.q_proj.bias", "blk.#.attn_q.bias"},
    {"model.layers.#.self_attn.k_proj.bias", "blk.#.attn_k.bias"},
    {"model.layers.#.self_attn.v_proj.bias", "blk.#.attn_v.bias"},
    {"model.layers.#.self_attn.o_proj.bias", "blk.#.attn_output.bias"},
    {"model.layers.#.self_attn.q_norm.weight", "blk.#.attn_q_norm.weight"},
    {"model.layers.#.self_attn.k_norm.weight", "blk.#.attn_k_norm.weight"},
    {"model.layers.#.self_attn.rotary_emb.inv_freq", "", TensorForm::kIgnore},
    {"model.layers.#.mlp.gate_proj.weight", "blk.#.ffn_gate.weight"},
    {"model.layers.#.mlp.up_proj.weight", "blk.#.ffn_up.weight"},
    {"model.layers.#.mlp.down_proj.weight", "blk.#.ffn_down.weight"},
    {"model.layers.#.mlp.gate_proj.bias", "blk.#.ffn_gate.bias"},
    {"model.layers.#.mlp.up_proj.bias", "blk.#.ffn_up.bias"},
    {"model.layers.#.mlp.down_proj.bias", "blk.#.ffn_down.bias"},
    {"model.layers.#.mlp.gate.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.mlp.gate.e_score_correction_bias", "blk.#.exp_probs_b.bias"},
    {"model.layers.#.mlp.experts.#.gate_proj.weight", "blk.#.ffn_gate.#.weight"},
    {"model.layers.#.mlp.experts.#.up_proj.weight", "blk.#.ffn_up.#.weight"},
    {"model.layers.#.mlp.experts.#.down_proj.weight", "blk.#.ffn_down.#.weight"},
    {"model.layers.#.mlp.experts.gate_up_proj", "blk.#.ffn_gate.#.weight,blk.#.ffn_up.#.weight",
     TensorForm::kExpertsSplitRows},
    {"model.layers.#.mlp.experts.down_proj", "blk.#.ffn_down_exps.weight"},
    {"model.layers.#.mlp.shared_experts.gate_proj.weight", "blk.#.ffn_gate_shexp.weight"},
    {"model.layers.#.mlp.shared_experts.up_proj.weight", "blk.#.ffn_up_shexp.weight"},
    {"model.layers.#.mlp.shared_experts.down_proj.weight", "blk.#.ffn_down_shexp.weight"},
    {"model.layers.#.mlp.shared_experts.gate_proj.bias", "blk.#.ffn_gate_shexp.bias"},
    {"model.layers.#.mlp.shared_experts.up_proj.bias", "blk.#.ffn_up_shexp.bias"},
    {"model.layers.#.mlp.shared_experts.down_proj.bias", "blk.#.ffn_down_shexp.bias"},
};

// Tensors that llama.cpp can write joined, whatever the architecture.
constexpr TensorRule kFused[] = {
    {"blk.#.attn_qkv.weight", "blk.#.attn_", TensorForm::kSplitQkv},
    {"blk.#.attn_qkv.bias", "blk.#.attn_", TensorForm::kSplitQkv},
    {"blk.#.ffn_gate_up_exps.weight", "blk.#.ffn_gate.#.weight,blk.#.ffn_up.#.weight", TensorForm::kExpertsSplitRows},
};

// "model.layers.3.mlp" -> "model.layers.#.mlp" and {3}.
struct NumberedName {
  std::string pattern;
  std::vector<std::int64_t> numbers;
};

NumberedName number(std::string_view name) {
  NumberedName out;
  std::size_t begin = 0;
  while (begin <= name.size()) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view segment = name.substr(begin, end - begin);
    std::int64_t value = 0;
    const auto [stop, error] = std::from_chars(segment.data(), segment.data() + segment.size(), value);
    const bool is_number = error == std::errc() && stop == segment.data() + segment.size() && !segment.empty();
    if (begin > 0) out.pattern += '.';
    out.pattern += is_number ? "#" : std::string(segment);
    if (is_number) out.numbers.push_back(value);
    begin = end + 1;
  }
  return out;
}

std::string fill(std::string_view pattern, std::span<const std::int64_t> numbers) {
  std::string out;
  std::size_t next = 0;
  for (const char c : pattern) {
    if (c == '#' && next < numbers.size())
      out += std::to_string(numbers[next++]);
    else
      out += c;
  }
  return out;
}

std::shared_ptr<std::vector<std::byte>> own(std::size_t bytes) {
  return std::make_shared<std::vector<std::byte>>(bytes);
}

Tensor owned_tensor(DType type, Shape shape, std::shared_ptr<std::vector<std::byte>> bytes) {
  Tensor out;
  out.type = type;
  out.shape = std::move(shape);
  out.bytes = *bytes;
  out.keep_alive = std::move(bytes);
  return out;
}

// Rows [begin, end) of a tensor whose last dimension is kept whole; shares bytes.
Tensor rows_of(const Tensor& tensor, std::int64_t begin, std::int64_t end) {
  Tensor out = tensor;
  out.shape = {end - begin, tensor.cols()};
  out.bytes = tensor.bytes.subspan(begin * tensor.row_bytes(), (end - begin) * tensor.row_bytes());
  return out;
}

// Every `step`-th row from `first`, copied (quantised rows stay whole).
Tensor every_row(const Tensor& matrix, std::int64_t first, std::int64_t step) {
  const std::int64_t rows = matrix.rows() / step;
  const std::size_t row_bytes = matrix.row_bytes();
  auto bytes = own(rows * row_bytes);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::memcpy(bytes->data() + r * row_bytes, matrix.bytes.data() + (first + r * step) * row_bytes, row_bytes);
  }
  return owned_tensor(matrix.type, {rows, matrix.cols()}, std::move(bytes));
}

// [R, C] -> columns first, first + step, ... (count of them) as rows: [count, R]. Plain types only.
Tensor transpose(const Tensor& matrix, std::int64_t first, std::int64_t step, std::int64_t count) {
  const std::size_t size = block_bytes(matrix.type);
  const std::int64_t rows = matrix.rows(), cols = matrix.cols();
  auto bytes = own(rows * count * size);
  for (std::int64_t c = 0; c < count; ++c) {
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memcpy(bytes->data() + (c * rows + r) * size, matrix.bytes.data() + (r * cols + first + c * step) * size,
                  size);
    }
  }
  return owned_tensor(matrix.type, {count, rows}, std::move(bytes));
}

// Applies one rule to one published tensor.
class Renamer {
 public:
  Renamer(const Checkpoint& checkpoint, const TensorSizes& sizes, TensorTable& table)
      : checkpoint_(checkpoint), sizes_(sizes), table_(table) {}

  void apply(const NamedTensor& named, const TensorRule& rule, std::vector<std::int64_t> numbers) {
    named_ = &named;
    if (rule.form == TensorForm::kIgnore) return;
    if (!numbers.empty() && numbers[0] >= sizes_.layers) return;  // multi-token prediction and the like
    if (rule.pairs && !numbers.empty()) {
      if (numbers.size() > 1 && rule.published.find("#.self_attn.#") != std::string_view::npos)
        fold(numbers);
      else if (rule.published.find("norm.#") != std::string_view::npos ||
               rule.published.find("mlps.#") != std::string_view::npos)
        fold(numbers);
      else
        numbers[0] *= 2;
    }
    const std::size_t comma = rule.canonical.find(',');
    const std::string_view first = rule.canonical.substr(0, comma);
    const std::string_view second =
        comma == std::string_view::npos ? std::string_view() : rule.canonical.substr(comma + 1);
    transform(named.tensor, rule.form, first, second, numbers);
  }

 private:
  static void fold(std::vector<std::int64_t>& numbers) {
    numbers[0] = numbers[0] * 2 + numbers[1];
    numbers.erase(numbers.begin() + 1);
  }

  void put(std::string_view pattern, std::vector<std::int64_t> numbers, Tensor tensor) {
    std::string name = fill(pattern, numbers);
    if (!table_.emplace(name, std::move(tensor)).second) {
      fail(checkpoint_.path, "tensor " + printable(named_->name) + " stands for " + name + ", which is there already");
    }
  }

  void expect(bool holds, const std::string& expected) const {
    if (!holds) {
      fail(checkpoint_.path, "tensor " + printable(named_->name) + " has shape " + to_string(named_->tensor.shape) +
                                 ", expected " + expected);
    }
  }

  void transform(const Tensor& t, TensorForm form, std::string_view first, std::string_view second,
                 std::vector<std::int64_t> numbers);
  template <class Make>
  void each_expert(const Tensor& t, std::string_view pattern, std::vector<std::int64_t> numbers, Make make) {
    numbers.push_back(0);
    for (std::int64_t e = 0; e < t.shape[0]; ++e) {
      numbers.back() = e;
      put(pattern, numbers, make(slice(t, e)));
    }
  }

  const Checkpoint& checkpoint_;
  const TensorSizes& sizes_;
  TensorTable& table_;
  const NamedTensor* named_ = nullptr;
};

void Renamer::transform(const Tensor& t, TensorForm form, std::string_view first, std::string_view second,
                        std::vector<std::int64_t> numbers) {
  const std::size_t dims = t.shape.size();
  switch (form) {
    case TensorForm::kIgnore:
      return;
    case TensorForm::kPlain:
      return put(first, numbers, t);
    case TensorForm::kSqueeze: {
      Tensor out = t;
      std::erase(out.shape, 1);
      return put(first, numbers, std::move(out));
    }
    case TensorForm::kSplitQkv: {
      const std::int64_t q = sizes_.q_rows, kv = sizes_.kv_rows;
      const bool bias = dims == 1;
      expect((bias || dims == 2) && t.shape[0] == q + 2 * kv, std::to_string(q + 2 * kv) + " rows");
      const std::string tail = bias ? ".bias" : ".weight";
      const auto part = [&](const char* name, std::int64_t begin, std::int64_t end) {
        Tensor matrix = t;
        matrix.shape = {t.shape[0], bias ? 1 : t.shape[1]};
        Tensor rows = rows_of(matrix, begin, end);
        if (bias) rows.shape.pop_back();
        put(std::string(first) + name + tail, numbers, std::move(rows));  // "blk.#.attn_": q, k, v follow
      };
      part("q", 0, q);
      part("k", q, q + kv);
      return part("v", q + kv, q + 2 * kv);
    }
    case TensorForm::kFirstOrLater: {
      const bool later = !numbers.empty() && numbers.back() > 0;
      if (!numbers.empty()) numbers.pop_back();
      return put(later ? second : first, numbers, t);
    }
    case TensorForm::kSplitRows: {
      expect(dims == 2 && t.shape[0] % 2 == 0, "an even number of rows");
      put(first, numbers, rows_of(t, 0, t.shape[0] / 2));
      return put(second, numbers, rows_of(t, t.shape[0] / 2, t.shape[0]));
    }
    case TensorForm::kExpertsSplitRows: {
      expect(dims == 3 && t.shape[1] % 2 == 0, "[experts, 2 * width, hidden]");
      const std::int64_t half = t.shape[1] / 2;
      each_expert(t, first, numbers, [&](const Tensor& m) { return rows_of(m, 0, half); });
      return each_expert(t, second, numbers, [&](const Tensor& m) { return rows_of(m, half, 2 * half); });
    }
    case TensorForm::kExpertsSplitColumns:
    case TensorForm::kExpertsInterleaved: {
      if (is_quantised(t.type)) return transform(t, TensorForm::kExpertsInterleavedRows, first, second, numbers);
      expect(dims == 3 && t.shape[2] % 2 == 0 && block_values(t.type) == 1, "[experts, hidden, 2 * width]");
      const std::int64_t half = t.shape[2] / 2;
      const bool alternate = form == TensorForm::kExpertsInterleaved;
      each_expert(t, first, numbers, [&](const Tensor& m) { return transpose(m, 0, alternate ? 2 : 1, half); });
      return each_expert(t, second, numbers,
                         [&](const Tensor& m) { return transpose(m, alternate ? 1 : half, alternate ? 2 : 1, half); });
    }
    case TensorForm::kExpertsInterleavedRows: {
      expect(dims == 3 && t.shape[1] % 2 == 0, "[experts, 2 * width, hidden]");
      each_expert(t, first, numbers, [](const Tensor& m) { return every_row(m, 0, 2); });
      return each_expert(t, second, numbers, [](const Tensor& m) { return every_row(m, 1, 2); });
    }
    case TensorForm::kExpertsBiasInterleaved: {
      expect(dims == 2 && t.shape[1] % 2 == 0 && block_values(t.type) == 1, "[experts, 2 * width]");
      const auto column = [&](const Tensor& row, std::int64_t at) {
        Tensor matrix = row;
        matrix.shape = {1, t.shape[1]};
        Tensor out = transpose(matrix, at, 2, t.shape[1] / 2);
        out.shape = {t.shape[1] / 2};
        return out;
      };
      each_expert(t, first, numbers, [&](const Tensor& row) { return column(row, 0); });
      return each_expert(t, second, numbers, [&](const Tensor& row) { return column(row, 1); });
    }
    case TensorForm::kExpertsTranspose: {
      if (is_quantised(t.type)) return each_expert(t, first, numbers, [](const Tensor& m) { return m; });
      expect(dims == 3 && block_values(t.type) == 1, "[experts, width, hidden]");
      return each_expert(t, first, numbers, [](const Tensor& m) { return transpose(m, 0, 1, m.shape[1]); });
    }
    case TensorForm::kExpertsRows:
    case TensorForm::kExpertsRowsTranspose: {
      expect(dims == 2 && sizes_.experts > 0 && t.shape[0] % sizes_.experts == 0, "experts * width rows");
      Tensor stacked = t;
      stacked.shape = {sizes_.experts, t.shape[0] / sizes_.experts, t.shape[1]};
      if (form == TensorForm::kExpertsRows) {
        return each_expert(stacked, first, numbers, [](const Tensor& m) { return m; });
      }
      expect(block_values(t.type) == 1, "plain values");
      return each_expert(stacked, first, numbers, [](const Tensor& m) { return transpose(m, 0, 1, m.shape[1]); });
    }
  }
}

}  // namespace

std::span<const TensorRule> common_tensor_rules() {
  return kCommon;
}

TensorTable canonical_tensors(const Checkpoint& checkpoint, std::span<const TensorRule> rules,
                              const TensorSizes& sizes) {
  std::unordered_map<std::string_view, const TensorRule*> by_name;
  for (const TensorRule& rule : kCommon) by_name[rule.published] = &rule;
  for (const TensorRule& rule : rules) by_name[rule.published] = &rule;
  TensorTable table;
  Renamer renamer(checkpoint, sizes, table);
  for (const NamedTensor& named : checkpoint.tensors()) {
    if (named.tensor.values() == 0) continue;  // a shared expert of no width
    NumberedName name = number(named.name);
    const auto rule = by_name.find(name.pattern);
    if (rule != by_name.end()) {
      renamer.apply(named, *rule->second, std::move(name.numbers));
    } else if (name.numbers.empty() || name.numbers[0] < sizes.layers) {
      fail(checkpoint.path, "tensor " + printable(named.name) + " is unknown to this architecture");
    }
  }
  return table;
}

TensorTable gguf_tensors(const Checkpoint& checkpoint, std::span<const TensorRule> rules, const TensorSizes& sizes) {
  std::unordered_map<std::string_view, const TensorRule*> by_name;
  for (const TensorRule& rule : kFused) by_name[rule.published] = &rule;
  for (const TensorRule& rule : rules) by_name[rule.published] = &rule;
  TensorTable table;
  Renamer renamer(checkpoint, sizes, table);
  for (const NamedTensor& named : checkpoint.tensors()) {
    NumberedName name = number(named.name);
    const auto rule = by_name.find(name.pattern);
    if (rule != by_name.end()) {
      renamer.apply(named, *rule->second, std::move(name.numbers));
    } else if (!table.emplace(named.name, named.tensor).second) {
      fail(checkpoint.path, tensor_label(named.name) + " is there twice");
    }
  }
  return table;
}

std::string published_name(std::string_view canonical, std::span<const TensorRule> rules) {
  const NumberedName name = number(canonical);
  for (const TensorRule& rule : rules) {
    if (rule.form == TensorForm::kPlain && name.pattern == rule.canonical) return fill(rule.published, name.numbers);
  }
  return std::string(canonical);
}

}  // namespace junto
