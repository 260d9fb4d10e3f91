#include "compress/tensor_plan.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "model/rope.h"

namespace junto {
namespace {

constexpr std::string_view kExpertParts[] = {"ffn_gate", "ffn_up", "ffn_down", "ffn_down_t", "attn_q", "attn_output"};

std::optional<int> leading_number(std::string_view& text) {
  int value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return std::nullopt;
  text.remove_prefix(stop - text.data());
  return value;
}

// "blk.12.attn_q.weight" -> 12 and "attn_q.weight"; no number where the tensor belongs to no block.
struct BlockTensorName {
  std::optional<int> block;
  std::string_view role;
};

BlockTensorName parse_block_tensor(std::string_view name) {
  std::string_view rest = name;
  if (!rest.starts_with("blk.")) return {std::nullopt, name};
  rest.remove_prefix(4);
  const std::optional<int> block = leading_number(rest);
  if (!block || !rest.starts_with('.')) return {std::nullopt, name};
  return {block, rest.substr(1)};
}

std::string replace_tail(std::string_view name, std::string_view tail, std::string_view with) {
  return std::string(name.substr(0, name.size() - tail.size())) + std::string(with);
}

// Rows of a vector are its values.
Tensor as_column(Tensor tensor) {
  if (tensor.shape.size() == 1) tensor.shape.push_back(1);
  return tensor;
}

Tensor rows_of(const Tensor& matrix, std::int64_t begin, std::int64_t end) {
  Tensor out = matrix;
  out.shape = {end - begin, matrix.cols()};
  out.bytes = matrix.bytes.subspan(begin * matrix.row_bytes(), (end - begin) * matrix.row_bytes());
  return out;
}

class Planner {
 public:
  Planner(const std::string& file, const ModelConfig& config, const ModelConfig& written, const TypeRequest& request)
      : file_(file), config_(config), written_(written), request_(request) {}

  void add(const std::string& name, const Tensor& tensor) {
    const BlockTensorName at = parse_block_tensor(name);
    const BlockSpec* block =
        at.block && *at.block < static_cast<int>(config_.blocks.size()) ? &config_.blocks[*at.block] : nullptr;
    if (const auto* mla = block ? std::get_if<MlaSpec>(&block->mixer) : nullptr; mla && at.role == "attn_kv_b.weight") {
      return add_kv_b(name, tensor, *mla);
    }
    if (is_expert_stack(name, tensor)) return add_experts(name, tensor);
    RowSource source;
    if (block) source.order = order_of(*block, written_.blocks[*at.block], at.role);
    const auto ordered_rows = static_cast<std::int64_t>(source.order.size());
    if (ordered_rows != 0 && (tensor.shape.empty() || tensor.shape[0] != ordered_rows)) {
      refuse(name, tensor, std::to_string(ordered_rows) + " rows");
    }
    if (config_.norm_plus_one && !written_.norm_plus_one && name.ends_with("_norm.weight")) source.offset = 1.0f;
    source.parts = {source.order.empty() ? tensor : as_column(tensor)};
    put(name, tensor.shape, std::move(source));
  }

  std::vector<PlannedTensor> finish() {
    stack_experts();
    sort_plan(plan_);
    return std::move(plan_);
  }

 private:
  [[noreturn]] void refuse(const std::string& name, const Tensor& tensor, const std::string& expected) const {
    fail(file_, tensor_label(name) + " has shape " + to_string(tensor.shape) + ", expected " + expected);
  }
  void put(std::string name, Shape shape, RowSource source);
  void add_experts(const std::string& name, const Tensor& stack);
  void add_kv_b(const std::string& name, const Tensor& tensor, const MlaSpec& spec);
  std::vector<std::int64_t> order_of(const BlockSpec& block, const BlockSpec& written, std::string_view role) const;
  std::vector<std::int64_t> attention_order(const AttentionSpec& a, RopeStyle to, std::string_view role) const;
  std::vector<std::int64_t> mla_order(const MlaSpec& a, RopeStyle to, std::string_view role) const;
  RopeStyle style(const ModelConfig& config, int rope) const { return config.ropes[rope].style; }
  static bool is_expert_stack(const std::string& name, const Tensor& tensor);
  bool is_whole(const std::string& stack, std::size_t count) const;
  void stack_experts();

  const std::string& file_;
  const ModelConfig& config_;
  const ModelConfig& written_;
  const TypeRequest& request_;
  std::vector<PlannedTensor> plan_;
};

bool Planner::is_expert_stack(const std::string& name, const Tensor& tensor) {
  if (tensor.shape.size() != 3 || !name.ends_with("_exps.weight")) return false;
  const std::string_view part = parse_block_tensor(name).role;
  return std::any_of(std::begin(kExpertParts), std::end(kExpertParts),
                     [&](std::string_view known) { return part == std::string(known) + "_exps.weight"; });
}

void Planner::put(std::string name, Shape shape, RowSource source) {
  PlannedTensor planned{std::move(name), std::move(shape), source.parts.front().type, {}, {}, std::move(source)};
  const std::optional<ExpertTensorName> expert = parse_expert_tensor(planned.name);
  const TypeChoice choice = choose_type({.name = planned.name,
                                         .stack = expert ? std::string_view(expert->stack) : std::string_view(),
                                         .dimensions = planned.shape.size(),
                                         .cols = planned.shape.empty() ? 1 : planned.shape.back(),
                                         .stored = planned.stored},
                                        request_);
  planned.type = choice.type;
  planned.asked = choice.asked;
  plan_.push_back(std::move(planned));
}

// A stack is taken apart, so that a rule may give one of its experts another type; those that are alike are stacked
// again at the end.
void Planner::add_experts(const std::string& name, const Tensor& stack) {
  const std::string base = replace_tail(name, "_exps.weight", ".");
  for (std::int64_t e = 0; e < stack.shape[0]; ++e) {
    Tensor expert = slice(stack, e);
    Shape shape = expert.shape;
    RowSource source;
    source.parts.push_back(std::move(expert));
    put(base + std::to_string(e) + ".weight", std::move(shape), std::move(source));
  }
}

// kv_b holds, for each head, the rows of the keys and those of the values. What runs is q' = k_b q on the compressed
// cache, [heads, kv_rank, nope], and v_b [heads, value, kv_rank].
void Planner::add_kv_b(const std::string& name, const Tensor& tensor, const MlaSpec& spec) {
  RowSource keys, values;
  keys.transpose = true;
  const std::int64_t head_rows = spec.nope_dim + spec.value_dim;
  const Shape expected = {spec.heads * head_rows, spec.kv_rank};
  if (tensor.shape != expected) refuse(name, tensor, to_string(expected));
  for (std::int64_t h = 0; h < spec.heads; ++h) {
    keys.parts.push_back(rows_of(tensor, h * head_rows, h * head_rows + spec.nope_dim));
    values.parts.push_back(rows_of(tensor, h * head_rows + spec.nope_dim, (h + 1) * head_rows));
  }
  put(replace_tail(name, "kv_b.weight", "k_b.weight"), {spec.heads, spec.kv_rank, spec.nope_dim}, std::move(keys));
  put(replace_tail(name, "kv_b.weight", "v_b.weight"), {spec.heads, spec.value_dim, spec.kv_rank}, std::move(values));
}

std::vector<std::int64_t> Planner::order_of(const BlockSpec& block, const BlockSpec& written,
                                            std::string_view role) const {
  if (const auto* a = std::get_if<AttentionSpec>(&block.mixer); a && a->rope >= 0) {
    const int rope = std::get<AttentionSpec>(written.mixer).rope;
    return attention_order(*a, style(written_, rope), role);
  }
  if (const auto* m = std::get_if<MlaSpec>(&block.mixer); m && m->rope >= 0) {
    const int rope = std::get<MlaSpec>(written.mixer).rope;
    return mla_order(*m, style(written_, rope), role);
  }
  return {};
}

std::vector<std::int64_t> Planner::attention_order(const AttentionSpec& a, RopeStyle to, std::string_view role) const {
  const Rope& rope = config_.ropes[a.rope];
  if (rope.style == to) return {};
  const auto order = [&](int heads) { return rotation_order(heads, a.head_dim, 0, rope.dims, rope.style, to); };
  if (role == "attn_q.weight" || role == "attn_q.bias") return order(a.heads);
  if (role == "attn_k.weight" || role == "attn_k.bias") return order(a.kv_heads);
  const bool full = a.qk_norm == QkNorm::kFullWidth;
  if (role == "attn_q_norm.weight") return order(full ? a.heads : 1);
  if (role == "attn_k_norm.weight") return order(full ? a.kv_heads : 1);
  return {};
}

std::vector<std::int64_t> Planner::mla_order(const MlaSpec& a, RopeStyle to, std::string_view role) const {
  const RopeStyle from = config_.ropes[a.rope].style;
  if (from == to) return {};
  if (role == "attn_q.weight" || role == "attn_q_b.weight") {
    return rotation_order(a.heads, a.nope_dim + a.rope_dim, a.nope_dim, a.rope_dim, from, to);
  }
  if (role == "attn_kv_a_mqa.weight" || role == "attn_kv_a_mqa.bias") {
    return rotation_order(1, a.kv_rank + a.rope_dim, a.kv_rank, a.rope_dim, from, to);
  }
  return {};
}

// True where `count` experts, the first ones, are all of the layer's that have weights.
bool Planner::is_whole(const std::string& stack, std::size_t count) const {
  const BlockTensorName at = parse_block_tensor(stack);
  if (*at.block >= static_cast<int>(config_.blocks.size())) return true;  // draft layers
  const BlockSpec& block = config_.blocks[*at.block];
  if (const auto* attention = std::get_if<ExpertAttentionSpec>(&block.mixer);
      attention && at.role.starts_with("attn")) {
    return static_cast<int>(count) == attention->router.experts;
  }
  const std::vector<ExpertKind>& kinds = block.moe.kinds;
  return count <= kinds.size() &&
         std::none_of(kinds.begin() + static_cast<std::ptrdiff_t>(count), kinds.end(), has_weights);
}

// Joins the tensors of a layer's experts where all of them are there, of one shape and one type to be written.
void Planner::stack_experts() {
  std::map<std::string, std::vector<std::pair<int, std::size_t>>> stacks;  // name -> (expert, index in the plan)
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (const auto name = parse_expert_tensor(plan_[i].name)) stacks[name->stack].push_back({name->expert, i});
  }
  std::vector<bool> joined(plan_.size());
  for (auto& [name, members] : stacks) {
    std::sort(members.begin(), members.end());
    const PlannedTensor& first = plan_[members.front().second];
    const bool alike = is_whole(name, members.size()) && members.back().first + 1 == static_cast<int>(members.size()) &&
                       std::all_of(members.begin(), members.end(), [&](const auto& member) {
                         const PlannedTensor& tensor = plan_[member.second];
                         return tensor.shape == first.shape && tensor.type == first.type && tensor.source.as_stored();
                       });
    if (!alike) continue;
    PlannedTensor stack{name, first.shape, first.stored, first.type, first.asked, {}};
    stack.shape.insert(stack.shape.begin(), static_cast<std::int64_t>(members.size()));
    for (const auto& [expert, index] : members) {
      stack.source.parts.push_back(plan_[index].source.parts.front());
      joined[index] = true;
    }
    plan_.push_back(std::move(stack));
    joined.push_back(false);
  }
  std::vector<PlannedTensor> rest;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (!joined[i]) rest.push_back(std::move(plan_[i]));
  }
  plan_ = std::move(rest);
}

}  // namespace

std::optional<ExpertTensorName> parse_expert_tensor(std::string_view name) {
  const BlockTensorName at = parse_block_tensor(name);
  if (!at.block) return std::nullopt;
  for (const std::string_view part : kExpertParts) {
    if (!at.role.starts_with(part)) continue;
    std::string_view rest = at.role.substr(part.size());
    if (!rest.starts_with('.')) continue;
    rest.remove_prefix(1);
    const std::optional<int> expert = leading_number(rest);
    if (!expert || (rest != ".weight" && rest != ".bias")) continue;
    return ExpertTensorName{"blk." + std::to_string(*at.block) + "." + std::string(part) + "_exps" + std::string(rest),
                            *at.block, *expert};
  }
  return std::nullopt;
}

void sort_plan(std::vector<PlannedTensor>& plan) {
  const auto place = [](const PlannedTensor& tensor) {
    const BlockTensorName at = parse_block_tensor(tensor.name);
    const int section = at.block ? 1 : tensor.name.starts_with("output") ? 2 : 0;
    const auto expert = parse_expert_tensor(tensor.name);
    return std::tuple(section, at.block.value_or(0), expert ? expert->stack : tensor.name, expert ? expert->expert : 0);
  };
  std::sort(plan.begin(), plan.end(),
            [&](const PlannedTensor& a, const PlannedTensor& b) { return place(a) < place(b); });
}

void fuse_qkv(std::vector<PlannedTensor>& plan) {
  std::map<std::string, PlannedTensor*, std::less<>> by_name;
  for (PlannedTensor& tensor : plan) by_name[tensor.name] = &tensor;
  for (auto& [name, q] : by_name) {
    for (const char* kind : {".weight", ".bias"}) {
      const std::string tail = std::string("attn_q") + kind;
      if (!name.ends_with("." + tail)) continue;
      const auto k = by_name.find(replace_tail(name, tail, std::string("attn_k") + kind));
      const auto v = by_name.find(replace_tail(name, tail, std::string("attn_v") + kind));
      if (k == by_name.end() || v == by_name.end()) continue;
      for (PlannedTensor* other : {k->second, v->second}) {
        q->shape[0] += other->shape[0];
        q->source.parts.push_back(other->source.parts.front());
        other->name.clear();
      }
      q->name = replace_tail(name, tail, std::string("attn_qkv") + kind);
    }
  }
  std::erase_if(plan, [](const PlannedTensor& tensor) { return tensor.name.empty(); });
}

std::vector<PlannedTensor> plan_tensors(const std::string& file, const TensorTable& tensors, const ModelConfig& config,
                                        const ModelConfig& written, const TypeRequest& request) {
  Planner planner(file, config, written, request);
  for (const auto& [name, tensor] : tensors) {
    if (!(config.tied_embeddings && name == "output.weight")) planner.add(name, tensor);
  }
  return planner.finish();
}

std::vector<std::string> describe_fallbacks(const std::vector<PlannedTensor>& plan) {
  struct Fallback {
    std::int64_t count = 0;
    std::string example;
  };
  std::map<std::tuple<DType, DType, std::int64_t>, Fallback> fallbacks;
  for (const PlannedTensor& tensor : plan) {
    if (tensor.type == tensor.asked) continue;
    Fallback& fallback = fallbacks[{tensor.asked, tensor.type, tensor.shape.back()}];
    if (fallback.count++ == 0) fallback.example = tensor.name;
  }
  std::vector<std::string> lines;
  for (const auto& [key, fallback] : fallbacks) {
    const auto& [asked, type, cols] = key;
    lines.push_back(std::to_string(fallback.count) + (fallback.count == 1 ? " tensor as " : " tensors as ") +
                    std::string(dtype_name(type)) + ", as rows of " + std::to_string(cols) +
                    " values do not fit blocks of " + std::string(dtype_name(asked)) + " (" +
                    std::to_string(block_values(asked)) + " values): " + fallback.example +
                    (fallback.count == 1 ? "" : " and others"));
  }
  return lines;
}

}  // namespace junto
