#include "moe/json_schema.h"

#include <cassert>

namespace junto {
namespace {

thread_local SchemaRecording* recording_under_way = nullptr;

OrderedJson rendered(const SchemaNode& node, OrderedJson& definitions);

OrderedJson rendered_object(const SchemaNode::Object& object, OrderedJson& definitions) {
  OrderedJson out = {{"type", "object"}, {"properties", OrderedJson::object()}};
  for (const auto& [key, node] : object.properties) out["properties"][key] = rendered(*node, definitions);
  if (!object.required.empty()) out["required"] = object.required;
  out["additionalProperties"] = false;
  return out;
}

/// All but the description.
OrderedJson rendered_value(const SchemaNode& node, OrderedJson& definitions) {
  if (node.items != nullptr) {
    OrderedJson out = {{"type", "array"}};
    out.update(node.keywords);
    out["items"] = rendered(*node.items, definitions);
    return out;
  }
  if (node.objects.empty()) return node.keywords;
  if (node.objects.size() == 1 && node.keywords.empty()) return rendered_object(*node.objects.front(), definitions);
  OrderedJson any = OrderedJson::array();
  if (!node.keywords.empty()) any.push_back(node.keywords);
  for (const auto& object : node.objects) any.push_back(rendered_object(*object, definitions));
  OrderedJson out = OrderedJson::object();
  out["oneOf"] = std::move(any);
  return out;
}

OrderedJson rendered(const SchemaNode& node, OrderedJson& definitions) {
  OrderedJson out = OrderedJson::object();
  if (!node.about.empty()) out["description"] = node.about;
  OrderedJson value = rendered_value(node, definitions);
  if (node.definition.empty()) {
    out.update(value);
    return out;
  }
  assert(!definitions.contains(node.definition) || definitions[node.definition] == value);
  definitions[node.definition] = std::move(value);
  out["$ref"] = "#/$defs/" + node.definition;
  return out;
}

}  // namespace

SchemaRecording::SchemaRecording() {
  assert(recording_under_way == nullptr);
  recording_under_way = this;
  root_ = make_node("");
}

SchemaRecording::~SchemaRecording() {
  recording_under_way = nullptr;
}

SchemaNode* SchemaRecording::node_of(const Json& json) {
  if (recording_under_way == nullptr) return nullptr;
  const auto found = recording_under_way->nodes_.find(&json);
  return found == recording_under_way->nodes_.end() ? nullptr : found->second;
}

std::unique_ptr<SchemaNode> SchemaRecording::make_node(std::string_view about) {
  auto node = std::make_unique<SchemaNode>();
  node->about = about;
  recording_under_way->nodes_[&node->placeholder] = node.get();
  return node;
}

OrderedJson SchemaRecording::schema(std::string_view title, std::string_view about) const {
  OrderedJson definitions = OrderedJson::object();
  const OrderedJson value = rendered(*root_, definitions);
  OrderedJson out = {
      {"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", title}, {"description", about}};
  out.update(value);
  out["$defs"] = std::move(definitions);
  return out;
}

}  // namespace junto
