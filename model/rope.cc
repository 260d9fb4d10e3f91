#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "base/error.h"

namespace junto {
namespace {

constexpr std::int64_t kMaxContext = std::int64_t{1} << 40;

// Where this reader's rope parameters stand: the prefix of their names in config.json.
struct Parameters {
  const ConfigReader& reader;
  std::string base;  // "rope_parameters", "rope_parameters.full_attention", "rope_scaling", or empty

  bool has(const std::string& hf, const char* gguf) const { return reader.has({path(hf).c_str(), gguf}); }
  double number_or(const std::string& hf, const char* gguf, double fallback) const {
    const std::string name = path(hf);
    return reader.number_or({name.c_str(), gguf}, fallback);
  }
  std::string path(const std::string& hf) const { return base.empty() ? hf : base + "." + hf; }
};

Parameters find_parameters(const ConfigReader& reader, const RopeRequest& request) {
  if (reader.gguf()) return {reader, ""};
  if (reader.has({"rope_parameters", nullptr})) {
    if (request.layer_type) {
      const std::string nested = std::string("rope_parameters.") + request.layer_type;
      if (reader.has({nested.c_str(), nullptr})) return {reader, nested};
    }
    return {reader, "rope_parameters"};
  }
  return {reader, "rope_scaling"};
}

std::string rope_type(const Parameters& p) {
  if (p.reader.gguf()) return p.reader.text_or({nullptr, "rope.scaling.type"}, "none");
  const std::string current = p.path("rope_type"), older = p.path("type");
  return p.reader.text_or({current.c_str(), nullptr}, p.reader.text_or({older.c_str(), nullptr}, "default"));
}

double theta(const Parameters& p, const RopeRequest& request) {
  const double fallback = p.reader.number_or(request.theta, request.default_theta);
  const std::string nested = p.path("rope_theta");
  const double value = p.reader.gguf() ? fallback : p.reader.number_or({nested.c_str(), nullptr}, fallback);
  if (!(value > 0)) p.reader.refuse(request.theta, std::to_string(value), "a positive number");
  return value;
}

int rotated_dims(const Parameters& p, const RopeRequest& request) {
  std::int64_t dims = 0;
  if (p.reader.gguf()) {
    dims = p.reader.integer_or({nullptr, "rope.dimension_count"},
                               static_cast<std::int64_t>(request.head_dim * request.partial_rotary_factor), 0,
                               request.head_dim);
  } else {
    const double outer = p.reader.number_or({"partial_rotary_factor", nullptr}, request.partial_rotary_factor);
    const double share = p.number_or("partial_rotary_factor", nullptr, outer);
    if (!(share > 0 && share <= 1)) {
      p.reader.refuse({"partial_rotary_factor", nullptr}, std::to_string(share), "a number in (0, 1]");
    }
    dims = static_cast<std::int64_t>(request.head_dim * share);
  }
  if (dims % 2 != 0) {
    p.reader.refuse({"head_dim", "rope.dimension_count"}, std::to_string(dims), "an even number of rotated dimensions");
  }
  return static_cast<int>(dims);
}

double factor_of(const Parameters& p) {
  const double factor = p.number_or("factor", "rope.scaling.factor", 1.0);
  if (!(factor > 0))
    p.reader.refuse({"rope_scaling.factor", "rope.scaling.factor"}, std::to_string(factor), "positive");
  return factor;
}

double original_context(const Parameters& p, double fallback) {
  const double outer = p.reader.number_or({"original_max_position_embeddings", nullptr}, fallback);
  const double value = p.number_or("original_max_position_embeddings", "rope.scaling.original_context_length", outer);
  if (!(value >= 1 && value < kMaxContext)) {
    p.reader.refuse({"original_max_position_embeddings", "rope.scaling.original_context_length"}, std::to_string(value),
                    "a context length");
  }
  return value;
}

double context_of(const ConfigReader& reader) {
  return static_cast<double>(reader.integer_or({"max_position_embeddings", "context_length"}, 2048, 1, kMaxContext));
}

double yarn_magnitude(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

void scale_llama3(const Parameters& p, std::vector<float>& frequency) {
  const double factor = factor_of(p);
  const double low = p.number_or("low_freq_factor", nullptr, 1.0);
  const double high = p.number_or("high_freq_factor", nullptr, 4.0);
  const double original = original_context(p, context_of(p.reader));
  if (!(high > low))
    p.reader.refuse({"rope_scaling.high_freq_factor", nullptr}, std::to_string(high), "above low_freq_factor");
  for (float& f : frequency) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength < original / high) continue;
    if (wavelength > original / low) {
      f = static_cast<float>(f / factor);
    } else {
      const double smooth = (original / wavelength - low) / (high - low);
      f = static_cast<float>((1 - smooth) * f / factor + smooth * f);
    }
  }
}

// Peng et al., arXiv 2309.00071: high frequencies stay, low ones are interpolated, with a ramp between.
void scale_yarn(const Parameters& p, double base, Rope& rope) {
  const double context = context_of(p.reader);
  const double original = original_context(p, context);
  const double factor = p.has("factor", "rope.scaling.factor") ? factor_of(p) : context / original;
  const double fast = p.number_or("beta_fast", "rope.scaling.yarn_beta_fast", 32.0);
  const double slow = p.number_or("beta_slow", "rope.scaling.yarn_beta_slow", 1.0);
  const std::string truncate = p.path("truncate");
  const auto correction = [&](double rotations) {
    return rope.dims * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(base));
  };
  double low = correction(fast), high = correction(slow);
  if (p.reader.boolean_or({truncate.c_str(), nullptr}, true)) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, rope.dims - 1.0);
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < rope.inverse_frequency.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double f = rope.inverse_frequency[i];
    rope.inverse_frequency[i] = static_cast<float>(f / factor * ramp + f * (1 - ramp));
  }
  const double mscale = p.number_or("mscale", nullptr, 0.0);
  const double mscale_all = p.number_or("mscale_all_dim", nullptr, 0.0);
  double magnitude = yarn_magnitude(factor, 1.0);
  if (mscale != 0 && mscale_all != 0) magnitude = yarn_magnitude(factor, mscale) / yarn_magnitude(factor, mscale_all);
  if (p.reader.gguf() && p.reader.has({nullptr, "rope.scaling.yarn_log_multiplier"}))
    magnitude = 1.0;  // mscale == mscale_all_dim
  rope.magnitude = static_cast<float>(p.number_or("attention_factor", "rope.scaling.attn_factor", magnitude));
}

std::vector<float> divided(const Parameters& p, const char* option, const std::vector<float>& frequency) {
  const std::string name = p.path(option);
  const std::vector<double> divisors = p.reader.numbers({name.c_str(), nullptr});
  if (divisors.size() != frequency.size()) {
    p.reader.refuse({name.c_str(), nullptr}, "a list of " + std::to_string(divisors.size()),
                    std::to_string(frequency.size()) + " factors");
  }
  std::vector<float> out;
  for (std::size_t i = 0; i < divisors.size(); ++i) out.push_back(static_cast<float>(frequency[i] / divisors[i]));
  return out;
}

// Ding et al., arXiv 2402.13753: a divisor for each frequency, one set for texts within the original context and one
// for longer ones. Phi-3.5-MoE names the magnitudes of both.
void scale_longrope(const Parameters& p, bool named_magnitudes, Rope& rope) {
  const double context = context_of(p.reader);
  const double original = original_context(p, context);
  const double factor = p.number_or("factor", "rope.scaling.factor", context / original);
  const double magnitude = factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(original));
  const double named = p.number_or("attention_factor", "rope.scaling.attn_factor", magnitude);
  rope.long_inverse_frequency = divided(p, "long_factor", rope.inverse_frequency);
  const auto magnitude_of = [&](const char* name) {
    return static_cast<float>(named_magnitudes ? p.number_or(name, nullptr, named) : named);
  };
  rope.long_magnitude = magnitude_of("long_mscale");
  rope.inverse_frequency = divided(p, "short_factor", rope.inverse_frequency);
  rope.magnitude = magnitude_of("short_mscale");
  rope.original_context = static_cast<std::int64_t>(original);
}

// llama.cpp stores a divisor per frequency beside the weights (rope_freqs: Llama 3.1 and later).
void apply_stored_divisors(const ConfigReader& reader, Rope& rope) {
  const Tensor* divisors = reader.checkpoint().find("rope_freqs.weight");
  if (!divisors) return;
  const std::vector<float> values = decode(*divisors);
  if (values.size() != rope.inverse_frequency.size()) {
    fail(reader.file(), "rope_freqs.weight has " + std::to_string(values.size()) + " values, expected " +
                            std::to_string(rope.inverse_frequency.size()));
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] > 0))
      fail(reader.file(), "rope_freqs.weight holds " + std::to_string(values[i]) + ", expected positive values");
    rope.inverse_frequency[i] /= values[i];
  }
}

}  // namespace

Rope read_rope(const ConfigReader& reader, const RopeRequest& request) {
  const Parameters p = find_parameters(reader, request);
  Rope rope;
  rope.style = request.style;
  rope.dims = rotated_dims(p, request);
  double base = theta(p, request);
  const std::string type = request.scaled ? rope_type(p) : "default";
  if (type == "dynamic" && p.has("alpha", nullptr) && rope.dims > 2) {  // Hunyuan: a fixed stretch of the base
    base *= std::pow(p.number_or("alpha", nullptr, 1.0), rope.dims / (rope.dims - 2.0));
  }
  for (int i = 0; i < rope.dims / 2; ++i) {
    // Float steps, as the references take them: base^(2i / dims) and its inverse are each rounded.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope.dims);
    rope.inverse_frequency.push_back(1.0f / std::pow(static_cast<float>(base), exponent));
  }
  if (type == "default" || type == "none" || type == "dynamic") {
    // "dynamic" differs from the default only beyond the trained context, which the engine does not exceed.
  } else if (type == "linear") {
    for (float& f : rope.inverse_frequency) f = static_cast<float>(f / factor_of(p));
  } else if (type == "llama3") {
    scale_llama3(p, rope.inverse_frequency);
  } else if (type == "yarn") {
    scale_yarn(p, base, rope);
  } else if (type == "longrope") {
    scale_longrope(p, request.named_magnitudes, rope);
  } else {
    reader.refuse({"rope_scaling.rope_type", "rope.scaling.type"}, type,
                  "default, linear, dynamic, llama3, yarn or longrope");
  }
  if (reader.gguf() && request.scaled) apply_stored_divisors(reader, rope);
  return rope;
}

float yarn_scale_correction(const ConfigReader& reader) {
  const Parameters p = find_parameters(reader, {});
  if (rope_type(p) != "yarn") return 1.0f;
  double all = p.number_or("mscale_all_dim", nullptr, 0.0);
  // llama.cpp stores 0.1 * mscale_all_dim.
  if (reader.gguf()) all = reader.number_or({nullptr, "rope.scaling.yarn_log_multiplier"}, 0.0) * 10;
  if (all == 0) return 1.0f;
  const double m = yarn_magnitude(factor_of(p), all);
  return static_cast<float>(m * m);
}

void rope_angles(const Rope& rope, bool long_text, std::int64_t position, float* cosines, float* sines) {
  const bool second = long_text && !rope.long_inverse_frequency.empty();
  const std::vector<float>& frequency = second ? rope.long_inverse_frequency : rope.inverse_frequency;
  const float magnitude = second ? rope.long_magnitude : rope.magnitude;
  for (std::size_t i = 0; i < frequency.size(); ++i) {
    const float angle = static_cast<float>(position) * frequency[i];
    cosines[i] = std::cos(angle) * magnitude;
    sines[i] = std::sin(angle) * magnitude;
  }
}

std::vector<std::int64_t> rotation_order(std::int64_t heads, std::int64_t head_dim, std::int64_t first,
                                         std::int64_t dims, RopeStyle from, RopeStyle to) {
  std::vector<std::int64_t> order(heads * head_dim);
  for (std::int64_t row = 0; row < heads * head_dim; ++row) {
    const std::int64_t in_head = row % head_dim - first;
    std::int64_t stored = in_head;
    if (in_head >= 0 && in_head < dims && from != to) {
      // Pair j is rows (j, j + dims / 2) in halves, (2 j, 2 j + 1) as neighbours.
      stored = to == RopeStyle::kInterleaved ? in_head / 2 + in_head % 2 * (dims / 2)
                                             : in_head % (dims / 2) * 2 + in_head / (dims / 2);
    }
    order[row] = row - in_head + stored;
  }
  return order;
}

}  // namespace junto
