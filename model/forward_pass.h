// Inside of the forward pass: what its parts (attention, latent attention, convolution, feed-forward) share.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/decoder.h"
#include "model/turn_memory.h"
#include "moe/grouped_experts.h"
#include "moe/prune.h"
#include "moe/route.h"

namespace junto {

class PathPredictor;

/// A row of the call, placed in its sequence.
struct PlacedRow {
  Sequence* sequence = nullptr;
  std::int64_t position = 0;
  std::int32_t token = 0;                              // kNoToken of rows given as embeddings
  std::int64_t visible_end = 0;                        // keys [.., visible_end) are visible
  const std::vector<LayerPolicy>* policies = nullptr;  // by published layer; null: the model's own routing
  bool wanted = true;                                  // false: nobody reads its logits
};

/// cos and sin of every row's position for one Rope: [rows, dims / 2].
struct Angles {
  Matrix<float> cosines;
  Matrix<float> sines;
};

/// Rows of one sequence at consecutive positions whose queries walk the keys together.
struct RowTile {
  std::int64_t first = 0;
  int rows = 0;
};

/// A softmax over some of the keys, not yet divided: its sum is of exp(score - maximum).
struct SoftmaxPart {
  float maximum = 0;
  float total = 0;
};

struct AttendScratch {
  std::vector<RowTile> tiles;
  std::vector<std::vector<float>> of_worker;  // [threads]: scores and sums of a task
  std::vector<SoftmaxPart> parts;             // [tasks, spans, queries], where spans are shared out
  std::vector<float> sums;                    // [tasks, spans, queries, value_dim]
};

/// Buffers kept from call to call. working_bytes() (model/working_memory.h) says how many bytes they take.
struct Workspace {
  TurnMemory turns;        // a turn each: a block's mixer, its feed-forward
  Matrix<float> x;         // [rows, D], the residual stream
  Matrix<float> normed;    // [rows, D], what a sublayer reads
  Matrix<float> result;    // [rows, D], what it gives
  Matrix<float> shortcut;  // [rows, D], experts' output that joins a block later
  TurnMatrix q{turns}, k{turns}, v{turns}, gate{turns}, mixed{turns}, latent{turns}, compressed{turns};
  TurnMatrix slot_output{turns}, shared_output{turns};
  ActivationRows normed_rows, mixed_rows, compressed_rows, head_rows;
  std::vector<Angles> angles;  // by rope
  std::vector<OverlayScratch> overlays;
  std::vector<std::vector<float>> worker_scores;  // [threads][32]
  Matrix<float> router_logits, shared_gate, scores;
  RoutePlan plan, unit_plan;
  RoutePlan joint_plan;                             // plan with the shared expert as id E, last in every row
  ExpertGroups joint_groups;                        // of it
  std::vector<const ExpertWeights*> joint_experts;  // [E + 1]
  std::vector<std::int32_t> streamed, in_memory;    // active experts by where they are
  RouteScratch route;
  std::vector<std::uint8_t> resident;     // [E] of the layer that routes: in memory, where a policy asks
  std::vector<LateDrop> late;             // [rows], the same
  Matrix<float> shared_up, shared_first;  // [rows, width]: hidden rows of a shared expert that goes beside the router
  ActivationRows shared_rows;             // shows shared_up
  Matrix<float> next_logits;              // [rows, E], what carried logits add
  Matrix<float> carried_logits;           // [rows, E of the last routing of this pass], where routers read them
  bool logits_are_carried = false;        // false before the first routing of a pass
  std::vector<Matrix<float>> expert_inputs;  // [blocks]: what their experts read, where a router above reads it
  Matrix<float> router_hidden;               // [rows, logits_hidden]
  ActivationRows router_rows, router_hidden_rows, carried_rows;
  Matrix<float> momentum, first_moment, second_moment;  // [rows, D], of residual rules
  std::vector<float> look_back;                         // x, while the layer reads ahead of it
  Matrix<float> restart_input;  // [rows, D], what a layer read after which the stream begins anew
  Matrix<float> before_ffn;     // [rows, D], x, where it joins a second time
  Matrix<float> scaled_input;   // [rows, D], what experts read that are given a multiple of it
  ActivationRows scaled_rows;   // shows it
  Matrix<float> round_output;   // [rows, D], of one round of several
  int round = 0;                // of the layer that computes
  struct {
    Matrix<float> normed, logits;
    ActivationRows rows;
    RoutePlan plan;
    std::vector<float> scores;
  } next;  // of guess_scores()
  struct {
    std::shared_ptr<PathPredictor> predictor;  // made when it is first asked
    std::vector<float> sums, all;
    std::vector<std::int32_t> tokens;
    bool known = false;  // of the pass that runs
  } paths;               // of path_scores()
  ExpertGroups groups, unit_groups;
  ExpertScratch experts, dense;
  AttendScratch attend;
  std::vector<std::int32_t> row_ids, out_ids;
  std::vector<PlacedRow> wanted_rows;
};

struct Pass {
  const Model& model;
  ThreadPool& pool;
  const KvLayout& layout;
  ActivationType activations;
  std::int64_t planned_length;
  const Hooks* hooks;
  std::span<const PlacedRow> rows;
  std::shared_ptr<const ExpertTable> experts;
  Workspace& w;
  DecoderCounters& counters;
  bool narrows = false;  // the last block does without the rows that are not wanted, see keep_wanted()

  std::int64_t count() const { return static_cast<std::int64_t>(rows.size()); }
};

/// One linear map among several that share their input and run as one parallel region.
struct Projection {
  const Linear* linear;
  MatrixView<float> out;
};
void project(Pass& pass, const ActivationRows& x, std::span<const Projection> projections);

/// The two halves of project(), for a region that does something else besides: how the maps are cut, after what must
/// come before; and groups of rows [begin, end) of all of them.
Pieces prepare_projections(Pass& pass, const ActivationRows& x, std::span<const Projection> projections);
void project_piece(Pass& pass, const ActivationRows& x, std::span<const Projection> projections, std::int64_t begin,
                   std::int64_t end);

/// project() with one more task in its region, which one thread does while others project: it must not start a region.
template <class Task>
void project_beside(Pass& pass, const ActivationRows& x, std::span<const Projection> projections, Task&& task) {
  const Pieces pieces = prepare_projections(pass, x, projections);
  pass.pool.for_each_block(pieces.count() + 1, [&](std::int64_t i, int) {
    if (i == 0) return task();
    project_piece(pass, x, projections, pieces.begin(i - 1), pieces.begin(i));
  });
}

/// Shows `view` to the kernels, quantised where weights are and the call wants it.
void take_rows(Pass& pass, MatrixView<const float> view, ActivationRows& rows);

/// Calls body(row) for every row, in parallel where there are several.
template <class Body>
void for_each_row(Pass& pass, Body&& body) {
  constexpr std::int64_t kRowsPerBlock = 4;
  const std::int64_t rows = pass.count();
  pass.pool.for_each_block((rows + kRowsPerBlock - 1) / kRowsPerBlock, [&](std::int64_t block, int) {
    for (std::int64_t r = block * kRowsPerBlock; r < std::min(rows, (block + 1) * kRowsPerBlock); ++r) body(r);
  });
}

/// Whether keep_wanted() does something in this block.
bool narrows_in(const Pass& pass, std::size_t block);

/// Where this is the last block of a pass that narrows: only the rows that are wanted are left in the pass, in x,
/// normed, normed_rows, result and angles. What others leave to later calls (keys and values, say) must have been
/// stored.
void keep_wanted(Pass& pass, std::size_t block);

void apply_norm(const ModelConfig& config, const NormWeights& norm, std::span<const float> x, std::span<float> out);
void rotate_head(const Rope& rope, std::span<const float> cosines, std::span<const float> sines, std::span<float> head);

/// What attend() needs of a layer: queries [rows, units * heads_per_unit * key_dim]; unit u reads KV head
/// u % kv_heads of the page.
struct Attend {
  int units = 1;
  int heads_per_unit = 1;
  int key_dim = 0;
  int value_dim = 0;
  bool values_in_keys = false;  // latent attention: the front of a key is its value
  float scale = 1.0f;
  float softcap = 0.0f;
  int window = 0;
  int chunk = 0;
  std::span<const float> sinks;  // [units * heads_per_unit] or empty
};
/// out [rows, units * heads_per_unit * value_dim].
void attend(Pass& pass, const KvRegion& region, const Attend& spec, MatrixView<const float> q, MatrixView<float> out);

/// Each reads pass.w.normed (and normed_rows) and writes pass.w.result.
void run_attention(Pass& pass, std::size_t block, const AttentionSpec& spec, const AttentionWeights& weights);
void run_mla(Pass& pass, std::size_t block, const MlaSpec& spec, const MlaWeights& weights);
void run_short_conv(Pass& pass, std::size_t block, const ShortConvSpec& spec, const ShortConvWeights& weights);
void run_expert_attention(Pass& pass, std::size_t block, const ExpertAttentionSpec& spec,
                          const ExpertAttentionWeights& weights);
/// Dense and routed parts of a block's feed-forward. What joins later goes to pass.w.shortcut.
void run_ffn(Pass& pass, std::size_t block);

/// out [rows, E] = the logits of `router` on x, with what the carried logits add. `beside`, at most two, are other maps
/// of x that are done in the same parallel region.
void compute_router_logits(Pass& pass, const RouterWeights& router, const RouterSpec& spec, const ActivationRows& x,
                           MatrixView<float> out, std::span<const Projection> beside = {});

/// Router logits [rows, E] of what the router reads, then the plan of all rows in pass.w.plan and its groups in
/// pass.w.groups.
void route_rows(Pass& pass, std::size_t block, const RouterWeights& router, const RouterSpec& spec, bool mixer);

/// For policies that go by what is in memory. Fills pass.w.resident where one of the rows has such a policy in this
/// block, else empties it.
void look_at_residents(Pass& pass, std::size_t block);
/// Leaves out of pass.w.plan what is not in memory, where pass.w.late says so, and counts what memory changed.
void leave_out_late(Pass& pass);

/// What the predictor of paths says of a later stage, where the model has one; else what the router of that stage says
/// of the hidden state that the experts of `stage` read: for each expert the weights that it would give to the rows,
/// summed [E]. All alike where there are too many rows for the router to be cheap; empty where there is no such state:
/// of the next token's stages. A guess of what will be asked for, and changes nothing.
std::span<const float> guess_scores(Pass& pass, ExpertStage stage, ExpertStage later);

/// What the model's predictor of paths says of a stage of this pass: for each expert the chances of the rows, summed
/// [E]. All alike where there are many rows; empty where it cannot tell. A guess too.
std::span<const float> path_scores(Pass& pass, ExpertStage stage);
/// Before the first block: experts are kept and read as the predictor of paths says, where the model has one.
void plan_experts(Pass& pass);

void observe(const Pass& pass, Point point, std::size_t block, MatrixView<const float> values, bool mixer = false);

}  // namespace junto
