#include "moe/expert_store.h"

#include <string>
#include <utility>

#include "base/error.h"

namespace junto {
namespace {

void check_matrix(const Linear& linear, std::int64_t rows, std::int64_t cols, const char* name,
                  std::string_view where) {
  if (linear.weights.rows != rows || linear.weights.cols != cols) {
    fail(where, std::string(name) + " is [" + std::to_string(linear.weights.rows) + ", " +
                    std::to_string(linear.weights.cols) + "], expected [" + std::to_string(rows) + ", " +
                    std::to_string(cols) + "]");
  }
  check_linear(linear, where);
}

std::int64_t flops_of(const Linear& linear) {
  return 2 * linear.weights.rows * linear.weights.cols;
}

ExpertLayer make_layer(std::vector<ExpertWeights> experts, std::int64_t hidden_size, const std::string& where) {
  ExpertLayer layer;
  for (std::size_t e = 0; e < experts.size(); ++e) {
    check_expert(experts[e], hidden_size, where + ": expert " + std::to_string(e));
    layer.owners.push_back(std::make_shared<const ExpertWeights>(std::move(experts[e])));
    layer.experts.push_back(layer.owners.back().get());
  }
  return layer;
}

}  // namespace

std::int64_t ExpertWeights::flops_per_row() const {
  return flops_of(gate) + flops_of(up) + flops_of(down);
}

void check_expert(const ExpertWeights& expert, std::int64_t hidden_size, std::string_view where) {
  if (expert.kind == ExpertKind::kFfn) {
    const std::int64_t width = expert.width();
    if (width < 1) fail(where, "has no up matrix");
    check_matrix(expert.up, width, hidden_size, "up", where);
    check_matrix(expert.down, hidden_size, width, "down", where);
    if (expert.activation.gated) return check_matrix(expert.gate, width, hidden_size, "gate", where);
    if (expert.activation.kind == ActivationKind::kSwigluOai) fail(where, "activation swiglu_oai needs a gate matrix");
    if (!expert.gate.empty()) fail(where, "has a gate matrix, expected none without a gated activation");
    return;
  }
  if (!expert.gate.empty() || !expert.up.empty() || !expert.down.empty()) {
    fail(where, "has matrices, expected none of a zero, copy or constant expert");
  }
  const std::size_t values = expert.kind == ExpertKind::kConstant ? static_cast<std::size_t>(hidden_size) : 0;
  if (expert.constant.size() != values) {
    fail(where,
         "constant has " + std::to_string(expert.constant.size()) + " values, expected " + std::to_string(values));
  }
  if (!expert.constant_mix.empty() && expert.constant_mix.size() != 2 * values) {
    fail(where, "constant_mix has " + std::to_string(expert.constant_mix.size()) + " values, expected " +
                    std::to_string(2 * values));
  }
}

ExpertUse& ExpertUse::operator+=(const ExpertUse& other) {
  rows += other.rows;
  free_rows += other.free_rows;
  experts_read += other.experts_read;
  bytes_read += other.bytes_read;
  flops += other.flops;
  return *this;
}

ExpertStore::ExpertStore(std::vector<std::vector<ExpertWeights>> layers, std::int64_t hidden_size,
                         std::string_view where)
    : hidden_size_(hidden_size), use_(layers.size()) {
  auto table = std::make_shared<ExpertTable>();
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const std::string layer_name = std::string(where) + ": layer " + std::to_string(l);
    table->layers.push_back(make_layer(std::move(layers[l]), hidden_size, layer_name));
  }
  table_ = std::move(table);
}

std::shared_ptr<const ExpertTable> ExpertStore::snapshot() const {
  const std::lock_guard lock(table_mutex_);
  return table_;
}

std::uint64_t ExpertStore::replace(int layer, int expert, ExpertWeights weights, std::string_view where) {
  const std::lock_guard one_at_a_time(replace_mutex_);
  const std::shared_ptr<const ExpertTable> old = snapshot();
  const auto layers = static_cast<int>(old->layers.size());
  if (layer < 0 || layer >= layers) {
    fail(where, "layer is " + std::to_string(layer) + ", expected 0.." + std::to_string(layers - 1));
  }
  const auto experts = static_cast<int>(old->layers[layer].experts.size());
  if (expert < 0 || expert >= experts) {
    fail(where, "expert is " + std::to_string(expert) + ", expected 0.." + std::to_string(experts - 1) + " in layer " +
                    std::to_string(layer));
  }
  check_expert(weights, hidden_size_, where);
  auto table = std::make_shared<ExpertTable>(*old);  // pointers to experts, not the experts
  table->version = weights.version = old->version + 1;
  ExpertLayer& changed = table->layers[layer];
  changed.owners[expert] = std::make_shared<const ExpertWeights>(std::move(weights));
  changed.experts[expert] = changed.owners[expert].get();
  const std::uint64_t version = table->version;
  const std::lock_guard lock(table_mutex_);
  table_ = std::move(table);
  return version;
}

void ExpertStore::count(int layer, const ExpertUse& use) {
  const std::lock_guard lock(use_mutex_);
  use_.at(layer) += use;
}

ExpertUse ExpertStore::use(int layer) const {
  const std::lock_guard lock(use_mutex_);
  return use_.at(layer);
}

ExpertUse ExpertStore::use() const {
  const std::lock_guard lock(use_mutex_);
  ExpertUse total;
  for (const ExpertUse& use : use_) total += use;
  return total;
}

void ExpertStore::reset_use() {
  const std::lock_guard lock(use_mutex_);
  use_.assign(use_.size(), {});
}

}  // namespace junto
