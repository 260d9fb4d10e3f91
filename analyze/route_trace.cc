#include "analyze/route_trace.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <variant>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "tensor/half.h"

namespace junto {
namespace {

// File: magic, version (u32), bytes of the header (u32), the header as JSON, then for each token its id (i32) and for
// each layer the number of experts, their ids and their weights (f16). Little-endian; counts and ids have one byte in
// layers of at most 255 experts, two in others.
constexpr std::string_view kMagic = "JUNTOTRC";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kPreamble = 16;
constexpr float kMaxHalf = 65504.0f;

int id_bytes(int experts) {
  return experts <= 255 ? 1 : 2;
}

void put(std::vector<std::byte>& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

int experts_of(const ModelConfig& config, const RoutedBlock& routed) {
  const BlockSpec& block = config.blocks[static_cast<std::size_t>(routed.block)];
  return routed.mixer ? std::get<ExpertAttentionSpec>(block.mixer).router.experts : block.moe.router.experts;
}

Json header_of(const RouteTrace& trace) {
  Json layers = Json::array();
  for (const TracedLayer& layer : trace.layers) {
    layers.push_back({{"layer", layer.layer},
                      {"mixer", layer.mixer},
                      {"round", layer.round},
                      {"experts", layer.experts},
                      {"expert_bytes", layer.expert_bytes}});
  }
  return {{"source", trace.source},
          {"tokens", trace.tokens()},
          {"sequences", trace.sequence_begin},
          {"weights", "f16"},
          {"layers", layers}};
}

/// A whole number of the header within its limits.
std::int64_t integer(const Json& object, const char* key, std::int64_t low, std::int64_t high, std::string_view where,
                     const std::string& field) {
  const auto found = object.find(key);
  const std::string expected = ", expected a whole number from " + std::to_string(low) + " to " + std::to_string(high);
  if (found == object.end()) fail(where, field + " is missing" + expected);
  if (!found->is_number_integer() || (found->is_number_unsigned() && found->get<std::uint64_t>() > INT64_MAX) ||
      found->get<std::int64_t>() < low || found->get<std::int64_t>() > high) {
    fail(where, field + " is " + printable(found->dump(-1, ' ', true), 40) + expected);
  }
  return found->get<std::int64_t>();
}

class TraceParser {
 public:
  TraceParser(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  RouteTrace parse() {
    read_header();
    read_tokens();
    if (at_ != bytes_.size()) {
      fail(where_, "has " + std::to_string(bytes_.size() - at_) + " bytes after its last token, expected none");
    }
    return std::move(trace_);
  }

 private:
  std::uint64_t take(int bytes) {
    if (bytes_.size() - at_ < static_cast<std::size_t>(bytes)) {
      fail(where_, "ends at byte " + std::to_string(bytes_.size()) + " within token " +
                       std::to_string(trace_.tokens() - 1) + " of " + std::to_string(tokens_));
    }
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) {
      value |= static_cast<std::uint64_t>(std::to_integer<std::uint8_t>(bytes_[at_++])) << (8 * i);
    }
    return value;
  }

  void read_header();
  void read_layers(const Json& layers);
  void check_round(const TracedLayer& layer, const std::string& field) const;
  void read_sequences(const Json& sequences);
  void read_tokens();
  void read_unit(TracedLayer& layer);

  std::span<const std::byte> bytes_;
  std::string_view where_;
  std::size_t at_ = 0;
  std::int64_t tokens_ = 0;
  std::int64_t units_ = 0;               // read so far, of all layers
  std::vector<std::int64_t> last_unit_;  // that named an expert, by id
  RouteTrace trace_;
};

void TraceParser::read_header() {
  if (bytes_.size() < kPreamble || std::memcmp(bytes_.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(where_, "is no trace: does not begin with " + std::string(kMagic) + "; see junto trace --help");
  }
  at_ = kMagic.size();
  const std::uint64_t version = take(4), header_bytes = take(4);
  if (version != kVersion) {
    fail(where_, "has version " + std::to_string(version) + ", expected " + std::to_string(kVersion));
  }
  if (header_bytes > bytes_.size() - at_) {
    fail(where_, "header_bytes is " + std::to_string(header_bytes) + ", expected at most the " +
                     std::to_string(bytes_.size() - at_) + " that follow");
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, header_bytes);
  at_ += header_bytes;
  const Json header = parse_json(text, where_);
  if (!header.is_object()) fail(where_, "header is no JSON object");
  if (const auto source = header.find("source"); source != header.end() && source->is_string()) {
    trace_.source = source->get<std::string>();
  }
  if (header.value("weights", Json()) != "f16") fail(where_, "weights are not of the type f16");
  tokens_ = integer(header, "tokens", 0, std::numeric_limits<std::int32_t>::max(), where_, "tokens");
  read_layers(header.value("layers", Json()));
  read_sequences(header.value("sequences", Json()));
}

void TraceParser::read_layers(const Json& layers) {
  if (!layers.is_array() || layers.empty()) fail(where_, "layers is no list of at least one layer");
  std::int64_t cells = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string field = "layers[" + std::to_string(i) + "]";
    const Json& one = layers[i];
    if (!one.is_object()) fail(where_, field + " is no JSON object");
    TracedLayer layer;
    layer.layer = static_cast<int>(integer(one, "layer", 0, INT32_MAX, where_, field + ".layer"));
    layer.mixer = one.value("mixer", Json(false)) == true;
    layer.experts = static_cast<int>(integer(one, "experts", 1, kMaxTracedExperts, where_, field + ".experts"));
    layer.expert_bytes = integer(one, "expert_bytes", 0, std::int64_t{1} << 40, where_, field + ".expert_bytes");
    if (one.contains("round")) {  // younger than the format
      layer.round = static_cast<int>(integer(one, "round", 0, INT32_MAX, where_, field + ".round"));
    }
    check_round(layer, field);
    cells += layer.experts;
    trace_.layers.push_back(std::move(layer));
  }
  if (cells > kMaxTracedCells) {
    fail(where_,
         "layers have " + std::to_string(cells) + " experts, expected at most " + std::to_string(kMaxTracedCells));
  }
  // A token has at least its id and a count for each layer: no file makes us allocate more than a few times its size.
  std::size_t least = sizeof(std::int32_t);
  for (const TracedLayer& layer : trace_.layers) least += static_cast<std::size_t>(id_bytes(layer.experts));
  if (static_cast<std::uint64_t>(tokens_) > (bytes_.size() - at_) / least) {
    fail(where_, "tokens is " + std::to_string(tokens_) + ", expected at most the " +
                     std::to_string((bytes_.size() - at_) / least) + " that the file holds");
  }
}

void TraceParser::check_round(const TracedLayer& layer, const std::string& field) const {
  if (layer.round == 0) return;
  const TracedLayer* const before = trace_.layers.empty() ? nullptr : &trace_.layers.back();
  if (before && !layer.mixer && !before->mixer && before->layer == layer.layer && before->experts == layer.experts &&
      before->round + 1 == layer.round) {
    return;
  }
  fail(where_, field + " is round " + std::to_string(layer.round) + " of layer " + std::to_string(layer.layer) +
                   ", expected after the round before it, with as many experts");
}

void TraceParser::read_sequences(const Json& sequences) {
  if (!sequences.is_array() || sequences.empty() != (tokens_ == 0)) {
    fail(where_, "sequences is no list of the sequences' first tokens");
  }
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::int64_t low = i == 0 ? 0 : trace_.sequence_begin.back() + 1, high = i == 0 ? 0 : tokens_ - 1;
    trace_.sequence_begin.push_back(
        integer(Json{{"begin", sequences[i]}}, "begin", low, high, where_, "sequences[" + std::to_string(i) + "]"));
  }
}

void TraceParser::read_unit(TracedLayer& layer) {
  ++units_;
  const int bytes = id_bytes(layer.experts);
  const auto where = [&] { return "token " + std::to_string(trace_.tokens() - 1) + ", " + layer.name() + ": "; };
  const auto count = static_cast<std::int64_t>(take(bytes));
  if (count > layer.experts) {
    fail(where_,
         where() + "has " + std::to_string(count) + " experts, expected at most " + std::to_string(layer.experts));
  }
  RoutePlan& plan = layer.plan;
  if (plan.slots() + count > std::numeric_limits<std::int32_t>::max())
    fail(where_, where() + "too many experts in all");
  for (std::int64_t i = 0; i < count; ++i) {
    const auto id = static_cast<std::int32_t>(take(bytes));
    if (id >= layer.experts) {
      fail(where_,
           where() + "names expert " + std::to_string(id) + ", expected 0.." + std::to_string(layer.experts - 1));
    }
    if (std::exchange(last_unit_[static_cast<std::size_t>(id)], units_) == units_) {
      fail(where_, where() + "names expert " + std::to_string(id) + " twice");
    }
    plan.expert.push_back(id);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const float weight = half_to_float(static_cast<std::uint16_t>(take(2)));
    if (!std::isfinite(weight)) fail(where_, where() + "has a weight that is not finite");
    plan.weight.push_back(weight);
  }
  plan.offset.push_back(static_cast<std::int32_t>(plan.slots()));
}

void TraceParser::read_tokens() {
  last_unit_.resize(kMaxTracedExperts);
  for (std::int64_t t = 0; t < tokens_; ++t) {
    trace_.token.push_back(0);
    trace_.token.back() = static_cast<std::int32_t>(take(4));
    for (TracedLayer& layer : trace_.layers) read_unit(layer);
  }
}

}  // namespace

std::string TracedLayer::name() const {
  return (mixer ? "attention of layer " : "layer ") + std::to_string(layer) +
         (round > 0 ? ", round " + std::to_string(round) : "");
}

RouteTrace make_trace(const RouteRecorder& recorder, const ModelConfig& config, std::vector<std::int32_t> token,
                      std::vector<std::int64_t> sequence_begin) {
  RouteTrace trace;
  trace.token = std::move(token);
  trace.sequence_begin = std::move(sequence_begin);
  for (const RoutedBlock* routed : recorder.blocks()) {
    trace.layers.push_back({routed->layer, routed->mixer, experts_of(config, *routed), 0, routed->plan, routed->round});
  }
  return trace;
}

std::vector<std::byte> serialize_trace(const RouteTrace& trace) {
  std::vector<std::byte> out;
  const std::string header = header_of(trace).dump(-1, ' ', false, Json::error_handler_t::replace);
  for (const char c : kMagic) out.push_back(static_cast<std::byte>(c));
  put(out, kVersion, 4);
  put(out, header.size(), 4);
  for (const char c : header) out.push_back(static_cast<std::byte>(c));
  for (std::int64_t t = 0; t < trace.tokens(); ++t) {
    put(out, static_cast<std::uint32_t>(trace.token[static_cast<std::size_t>(t)]), 4);
    for (const TracedLayer& layer : trace.layers) {
      const int bytes = id_bytes(layer.experts);
      put(out, layer.plan.experts_of(t).size(), bytes);
      for (const std::int32_t e : layer.plan.experts_of(t)) put(out, static_cast<std::uint32_t>(e), bytes);
      for (const float w : layer.plan.weights_of(t)) put(out, float_to_half(std::clamp(w, -kMaxHalf, kMaxHalf)), 2);
    }
  }
  return out;
}

void write_trace(const RouteTrace& trace, const std::string& path) {
  AtomicFile file(path);
  file.write(serialize_trace(trace));
  file.commit();
}

RouteTrace parse_trace(std::span<const std::byte> bytes, std::string_view where) {
  return TraceParser(bytes, where).parse();
}

RouteTrace read_trace(const std::string& path) {
  const MappedFile file(path);
  return parse_trace(file.bytes(), path);
}

}  // namespace junto
