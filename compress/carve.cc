#include "compress/carve.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "compress/carve_rounding.h"
#include "compress/carve_statistics.h"
#include "compress/carve_tensors.h"
#include "model/stored_routing.h"

namespace junto {
namespace {

// A ridge regression wants more equations than unknowns.
constexpr std::int64_t kTokensPerFeature = 4;

RouterSpec router_of(const CarveShape& shape) {
  RouterSpec router;
  router.experts = shape.routed();
  router.score = Score::kLogit;
  router.select = TopK{shape.routed()};
  router.weigh = Weigh::kConstant;
  return router;
}

void check_shape(const CarveShape& shape) {
  if (shape.experts < 2) fail("--experts", "is " + std::to_string(shape.experts) + ", expected 2 or more");
  if (shape.shared < 0 || shape.shared >= shape.experts) {
    fail("--shared", "is " + std::to_string(shape.shared) + ", expected 0.." + std::to_string(shape.experts - 1) +
                         " with --experts " + std::to_string(shape.experts));
  }
}

struct DenseBlocks {
  std::vector<int> blocks;
  std::vector<std::int64_t> widths;  // [all blocks], 0 where nothing is carved
};

DenseBlocks dense_blocks(const std::string& file, const ModelSource& source, const CarveShape& shape) {
  DenseBlocks dense;
  for (std::size_t b = 0; b < source.config.blocks.size(); ++b) {
    const BlockSpec& block = source.config.blocks[b];
    if (block.routed) {
      fail(file, "block " + std::to_string(b) + " is a mixture of " + std::to_string(block.moe.router.experts) +
                     " experts already, expected a dense model");
    }
    dense.widths.push_back(block.dense ? dense_ffn_width(source.tensors, static_cast<int>(b)) : 0);
    if (dense.widths.back() == 0) continue;
    if (dense.widths.back() % shape.experts != 0) {
      std::string fitting;
      for (int e = 2; e <= 256; ++e) {
        if (dense.widths.back() % e == 0 && dense.widths.back() / e >= 8)
          fitting += (fitting.empty() ? "" : ", ") + std::to_string(e);
      }
      fail(file, "block " + std::to_string(b) + " has " + std::to_string(dense.widths.back()) +
                     " neurons, which --experts " + std::to_string(shape.experts) + " does not divide (" + fitting +
                     " do)");
    }
    dense.blocks.push_back(static_cast<int>(b));
  }
  if (dense.blocks.empty()) fail(file, "has no dense feed-forward to carve");
  return dense;
}

void check_calibration(const CarveOptions& options, const ModelConfig& config) {
  const auto tokens = std::ssize(options.calibration) / options.window * options.window;
  const std::int64_t needed = kTokensPerFeature * config.hidden_size;
  if (tokens < needed) {
    fail("--calibrate", "the text has " + std::to_string(options.calibration.size()) + " tokens (" +
                            std::to_string(tokens) + " in whole windows), expected at least " + std::to_string(needed) +
                            ": " + std::to_string(kTokensPerFeature) + " for each of the router's " +
                            std::to_string(config.hidden_size) + " inputs");
  }
}

std::vector<int> fitted_choices(const CarveShape& shape, const std::vector<double>& shares) {
  std::vector<int> chosen;
  for (const double share : shares) {
    const int k = chosen_at(shape, share);
    if (k > 0 && k < shape.routed()) chosen.push_back(k);
  }
  if (chosen.empty()) chosen.push_back(std::max(1, shape.routed() / 2));
  return chosen;
}

// What the written file says of its routing.
void store_routing(const CarveOptions& options, const ModelSource& source, const DenseBlocks& dense, FilePlan& file) {
  make_junto_only(file.identity, "llama.cpp has no experts beside a shared one with such routing");
  ModelConfig carved = file.identity.written;
  for (const int b : dense.blocks) {
    make_routed(carved.blocks[b], router_of(options.shape));
    carved.blocks[b].moe.shared_expert = options.shape.shared > 0;
    carved.blocks[b].moe.output_bias = true;
  }
  file.identity.metadata.set("junto.router", stored_routing(carved, source.config)->dump());
}

}  // namespace

int chosen_at(const CarveShape& shape, double share) {
  return std::max(0, static_cast<int>(std::lround(share * shape.experts)) - shape.shared);
}

CarveReport carve(const CarveOptions& options) {
  check_shape(options.shape);
  CarveReport report;
  std::int64_t hidden_size = 0;
  ConvertOptions write;
  write.source = options.source;
  write.out = options.out;
  write.threads = options.threads;
  write.progress = options.progress;
  write.transform = [&](const Checkpoint& checkpoint, const ModelSource& source, FilePlan& file) {
    const DenseBlocks dense = dense_blocks(checkpoint.path, source, options.shape);
    check_calibration(options, source.config);
    hidden_size = source.config.hidden_size;
    ThreadPool pool(options.threads);
    LoadOptions load;
    load.pool = &pool;
    SampleOptions sampling;
    sampling.window = options.window;
    sampling.bos = options.bos;
    const std::int64_t own = options.window - (options.bos ? 1 : 0);
    report.calibration_tokens = std::ssize(options.calibration) / own * options.window;
    const std::int64_t all =
        report.calibration_tokens * sample_passes(source.config, dense.widths, report.calibration_tokens, sampling);
    std::int64_t fed = 0;
    sampling.progress = [&](std::int64_t tokens) {
      fed += tokens;
      if (options.calibrating) options.calibrating(fed, all);
    };
    FitOptions fit;
    fit.chosen = fitted_choices(options.shape, options.shares);
    Decoder decoder(load_model(checkpoint, load), pool);
    sample_blocks(decoder, options.calibration, dense.blocks, dense.widths, sampling, [&](const BlockSample& sample) {
      const Matrix<float> down = down_matrix(source.tensors, sample.block);
      const BlockCarving carving = carve_block(sample, down.view(), options.shape, fit, pool);
      const Tensor down_columns =
          round_columns(sample, down.view(), carved_down_type(options.down_type, hidden_size), pool);
      report.captured.push_back(carving.captured);
      report.captured_ideal.push_back(carving.captured_ideal);
      for (TensorToWrite& tensor :
           carved_tensors(source.tensors, sample.block, carving, down_columns, options.mean_of_unchosen)) {
        file.made.push_back(std::move(tensor));
      }
      ++report.blocks;
      if (options.fitting) options.fitting(report.blocks, std::ssize(dense.blocks));
    });
    report.neurons = dense.widths[dense.blocks.front()] / options.shape.experts;
    report.router = router_of(options.shape);
    store_routing(options, source, dense, file);
    for (const int b : dense.blocks) {
      for (const std::string& name : dense_ffn_names(source.tensors, b)) {
        report.dense_bytes += source.tensors.find(name)->second.bytes.size();
        std::erase_if(file.tensors, [&](const PlannedTensor& tensor) { return tensor.name == name; });
      }
    }
  };
  report.file = convert(write);
  report.file.source_bytes += report.dense_bytes;
  const DType asked = options.down_type, down = carved_down_type(asked, hidden_size);
  if (down != asked) {
    report.file.notes.push_back("down matrices are f16: the " + std::to_string(hidden_size) +
                                " outputs of a neuron do not fill blocks of " + std::string(dtype_name(asked)));
  }
  return report;
}

}  // namespace junto
