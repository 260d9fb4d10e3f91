// The forward pass: a batch of rows of any sequences through the blocks, to logits or hidden states.
//
// Row invariance: on one instruction set a row's results are the same bits whatever the number of threads, the other
// rows of the call, the cutting of a prompt into calls, and whether its KV rows were decoded or recomputed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul.h"
#include "model/hooks.h"
#include "model/kv_cache.h"
#include "model/sequence.h"
#include "model/weights.h"

namespace junto {

enum class AttentionMask : std::uint8_t {
  kCausal,     // the row's own position and all before it
  kWholeCall,  // also the later rows of its sequence in this call (image or prefix spans)
};

/// One row: the next position of a sequence.
struct Row {
  int sequence = 0;            // index into Batch::sequences
  std::int64_t position = -1;  // -1: the next one; else it must be the next one
  std::int32_t token = kNoToken;
  std::span<const float> embedding;       // [D], instead of a token
  const RoutingPolicy* policy = nullptr;  // null: the sequence's own
  AttentionMask mask = AttentionMask::kCausal;
  bool logits = false;
};

struct Batch {
  std::span<Sequence* const> sequences;
  std::span<const Row> rows;           // rows of one sequence in order of position
  std::span<const int> hidden_blocks;  // blocks whose output is wanted for every row
  const Hooks* hooks = nullptr;
};

/// What a call computed. Views into the decoder's buffers: valid until its next call.
struct Outputs {
  MatrixView<const float> logits;               // [rows with logits, config.outputs()], in row order
  std::vector<MatrixView<const float>> hidden;  // for each of hidden_blocks, [rows, D]
};

struct DecoderOptions {
  DType kv = DType::kF16;
  ActivationType activations = ActivationType::kQ8;  // with quantised weights; plain weights always take float rows
  /// Positions that the text may reach: models with LongRoPE have one set of frequencies up to their original context
  /// and another for longer texts, and a text must keep to one. 0: short texts.
  std::int64_t planned_length = 0;
};

/// Executed work since the last reset: the honest cost of a policy.
struct DecoderCounters {
  std::int64_t rows = 0;
  std::int64_t calls = 0;
  std::int64_t routed_slots = 0;    // (row, block, expert) computed
  std::int64_t possible_slots = 0;  // (row, block, expert) with all experts on
  std::int64_t routed_rows = 0;     // (row, routed block)
  std::int64_t bytes_read = 0;      // weights, once per call, and KV rows
  std::vector<std::int64_t> slots_of_block;
  std::vector<std::int64_t> rows_of_block;  // that were routed
};

/// Holds the buffers of a forward pass. One call at a time; many decoders may share a model.
class Decoder {
 public:
  Decoder(std::shared_ptr<const Model> model, ThreadPool& pool, DecoderOptions options = {});
  ~Decoder();

  const Model& model() const { return *model_; }
  const KvLayout& kv_layout() const { return layout_; }

  /// Appends the rows to their sequences and computes them. Throws Error on a row that does not fit (token id,
  /// position, policy, context length), before anything is changed.
  Outputs forward(const Batch& batch);

  /// Feeds `tokens` to one sequence, `chunk` rows a call (0: all in one), and returns the logits of the last row [V].
  std::span<const float> feed(Sequence& sequence, std::span<const std::int32_t> tokens, int chunk = 512,
                              const Hooks* hooks = nullptr);

  const DecoderCounters& counters() const;
  void reset_counters();

 private:
  struct State;
  std::shared_ptr<const Model> model_;
  ThreadPool& pool_;
  DecoderOptions options_;
  KvLayout layout_;
  std::unique_ptr<State> state_;
};

}  // namespace junto
