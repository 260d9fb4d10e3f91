#include "format/safetensors_header.h"

#include <array>
#include <unordered_set>

#include "base/error.h"
#include "base/json.h"

namespace junto {
namespace {

struct DTypeName {
  std::string_view name;
  DType type;
};
constexpr std::array kDTypes = {
    DTypeName{"F32", DType::kF32},   DTypeName{"F16", DType::kF16},        DTypeName{"BF16", DType::kBF16},
    DTypeName{"F64", DType::kF64},   DTypeName{"I8", DType::kI8},          DTypeName{"I16", DType::kI16},
    DTypeName{"I32", DType::kI32},   DTypeName{"I64", DType::kI64},        DTypeName{"U8", DType::kU8},
    DTypeName{"BOOL", DType::kBool}, DTypeName{"F8_E4M3", DType::kF8E4M3}, DTypeName{"F8_E5M2", DType::kF8E5M2},
};

// Receives the parser's events. `state_` says where in the header's fixed grammar we are; anything else is refused.
class HeaderEvents : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderEvents(const std::string& file) : file_(file) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool key(std::string& text) override {
    switch (state_) {
      case State::kFile:
        if (text.empty()) fail(file_, "header: a tensor has an empty name");
        if (!names_.insert(text).second) fail(file_, "header: tensor \"" + printable(text) + "\" is given twice");
        state_ = text == "__metadata__" ? State::kMetadataValue : State::kTensorValue;
        name_ = text;
        return true;
      case State::kTensor:
        return field(text);
      case State::kMetadata:
        header_.metadata.emplace_back(text, "");
        return true;
      default:
        return unexpected("a key");
    }
  }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::kStart:
        state_ = State::kFile;
        return true;
      case State::kTensorValue:
        state_ = State::kTensor;
        header_.entries.push_back({.name = name_, .type = {}, .shape = {}, .begin = 0, .end = 0});
        has_dtype_ = has_shape_ = has_offsets_ = false;
        return true;
      case State::kMetadataValue:
        state_ = State::kMetadata;
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool end_object() override {
    if (state_ == State::kTensor) {
      if (!has_dtype_) refuse("has no dtype");
      if (!has_shape_) refuse("has no shape");
      if (!has_offsets_) refuse("has no data_offsets");
    }
    state_ = state_ == State::kFile ? State::kEnd : State::kFile;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kShape || state_ == State::kOffsets) {
      if (in_array_) return unexpected("an array");
      in_array_ = true;
      return true;
    }
    return unexpected("an array");
  }

  bool end_array() override {
    if (state_ == State::kOffsets) {
      if (offsets_ != 2) refuse("has " + std::to_string(offsets_) + " data_offsets, expected 2");
    }
    in_array_ = false;
    state_ = State::kTensor;
    return true;
  }

  bool number_unsigned(std::uint64_t value) override {
    if (!in_array_) return unexpected("a number");
    if (value >> 62) refuse("has a number " + std::to_string(value) + ", expected less than 2^62");
    SafetensorsEntry& entry = header_.entries.back();
    if (state_ == State::kShape) {
      if (entry.shape.size() == kMaxDimensions) refuse("has more than 16 dimensions");
      entry.shape.push_back(static_cast<std::int64_t>(value));
    } else {
      if (offsets_ == 0) entry.begin = value;
      if (offsets_ == 1) entry.end = value;
      if (++offsets_ > 2) refuse("has more than 2 data_offsets");
    }
    return true;
  }

  bool string(std::string& text) override {
    if (state_ == State::kMetadata) {
      header_.metadata.back().second = text;
      return true;
    }
    if (state_ != State::kDType) return unexpected("a string");
    const std::optional<DType> type = dtype_from_safetensors(text);
    if (!type) refuse("has dtype \"" + printable(text) + "\", which is unknown here");
    header_.entries.back().type = *type;
    state_ = State::kTensor;
    return true;
  }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(std::int64_t) override { return unexpected("a negative number"); }
  bool number_float(double, const std::string&) override { return unexpected("a fraction"); }
  bool binary(Json::binary_t&) override { return unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail(file_, "header is not valid JSON at byte " + std::to_string(position));
  }

 private:
  enum class State {
    kStart,          // before {
    kFile,           // names
    kTensorValue,    // after a name
    kTensor,         // fields of a tensor
    kDType,          // after "dtype"
    kShape,          // after "shape", and in its array
    kOffsets,        // after "data_offsets", and in its array
    kMetadataValue,  // after "__metadata__"
    kMetadata,       // its keys and values
    kEnd,            // after }
  };
  static constexpr std::size_t kMaxDimensions = 16;

  [[noreturn]] void refuse(const std::string& what) const {
    fail(file_, "header: tensor \"" + printable(name_) + "\" " + what);
  }

  bool unexpected(const std::string& what) const {
    const bool inside = state_ != State::kStart && state_ != State::kFile && state_ != State::kEnd;
    fail(file_, "header" + (inside ? " at \"" + printable(name_) + "\"" : std::string()) + ": " + what +
                    " is not expected here");
  }

  bool field(const std::string& text) {
    const auto once = [&](bool& seen, State next) {
      if (seen) refuse("has " + text + " twice");
      seen = true;
      state_ = next;
      return true;
    };
    offsets_ = 0;
    if (text == "dtype") return once(has_dtype_, State::kDType);
    if (text == "shape") return once(has_shape_, State::kShape);
    if (text == "data_offsets") return once(has_offsets_, State::kOffsets);
    refuse("has a field \"" + printable(text) + "\", expected dtype, shape and data_offsets");
  }

  const std::string& file_;
  SafetensorsHeader header_;
  std::unordered_set<std::string> names_;
  std::string name_;
  State state_ = State::kStart;
  bool in_array_ = false;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int offsets_ = 0;
};

}  // namespace

std::string_view safetensors_dtype(DType type) {
  for (const DTypeName& row : kDTypes) {
    if (row.type == type) return row.name;
  }
  return {};
}

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  for (const DTypeName& row : kDTypes) {
    if (row.name == name) return row.type;
  }
  return std::nullopt;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file) {
  HeaderEvents events(file);
  Json::sax_parse(text.begin(), text.end(), &events);
  return events.take();
}

}  // namespace junto
