// A JSON Schema (draft 2020-12) that a reader makes of itself: what JsonFields is asked for while it is run on nothing.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"

namespace junto {

/// What is known of one value.
struct SchemaNode {
  struct Object {
    std::vector<std::pair<std::string, std::unique_ptr<SchemaNode>>> properties;
    std::vector<std::string> required;
  };
  std::string about;
  OrderedJson keywords = OrderedJson::object();  // type, minimum, enum, default...; of what is no object
  std::vector<std::unique_ptr<Object>> objects;  // what it may be as an object: one, or alternatives
  std::unique_ptr<SchemaNode> items;             // of an array
  std::string definition;                        // not empty: stands under $defs by this name
  Json placeholder = {};                         // by whose address readers find this node
};

/// While it lives, a JsonFields made of root(), or of what another JsonFields gave out for a part of it, finds no value
/// but every key, and notes what it is asked for. An object that is read twice has alternatives. One at a time in a
/// thread.
class SchemaRecording {
 public:
  SchemaRecording();
  ~SchemaRecording();
  SchemaRecording(const SchemaRecording&) = delete;
  SchemaRecording& operator=(const SchemaRecording&) = delete;

  const Json& root() const { return root_->placeholder; }
  /// The schema of all that was read so far.
  OrderedJson schema(std::string_view title, std::string_view about) const;

  /// The node that `json` is the placeholder of; null where none is, so nearly always.
  static SchemaNode* node_of(const Json& json);
  /// A new one of the recording that is under way.
  static std::unique_ptr<SchemaNode> make_node(std::string_view about);

 private:
  std::unordered_map<const Json*, SchemaNode*> nodes_;
  std::unique_ptr<SchemaNode> root_;
};

}  // namespace junto
