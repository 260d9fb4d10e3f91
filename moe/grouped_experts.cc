#include "moe/grouped_experts.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "moe/activate.h"
#include "tensor/dtype.h"

namespace junto {
namespace {

using Job = ExpertScratch::Job;
using Hidden = ExpertScratch::Hidden;
using Task = ExpertScratch::Task;

// Rows that one task takes: their Q8 form stays in the second-level cache while blocks of weights pass by.
constexpr std::int64_t kRowsPerTask = 128;
// Less than this many values are quantised sooner by one thread than the others wake up.
constexpr std::int64_t kSerialValues = 32768;

/// Everything that the steps of one call share.
struct Call {
  const RoutePlan& plan;
  const ExpertGroups& groups;
  WeightOn weight_on;
  ActivationType activations;
  const ActivationRows& x;
  ThreadPool& pool;
  ExpertScratch& scratch;
  MatrixView<float> out;

  std::span<const std::int32_t> ids(std::int64_t begin, std::int64_t count) const {
    return std::span(scratch.row_ids).subspan(begin, count);
  }
  /// What the first matrices of a job read, and the rows of it.
  const ActivationRows& input() const { return weight_on == WeightOn::kInput ? scratch.weighted_inputs : x; }
  std::span<const std::int32_t> input_rows(const Job& job) const {
    return weight_on == WeightOn::kInput ? ids(job.first_place, std::ssize(job.slots)) : job.units;
  }
};

bool wants_q8(const Linear& linear, ActivationType activations) {
  return activations == ActivationType::kQ8 && takes_q8(linear.weights);
}

// Matrices by column make a Q8 form of their own.
bool reads_q8_rows(const Linear& linear, ActivationType activations) {
  return wants_q8(linear, activations) && !is_by_column(linear.weights.layout);
}

std::size_t hidden_of_width(std::int64_t width, ExpertScratch& scratch) {
  for (std::size_t i = 0; i < scratch.hidden_count; ++i) {
    if (scratch.hidden[i].width == width) return i;
  }
  if (scratch.hidden_count == scratch.hidden.size()) scratch.hidden.emplace_back();
  Hidden& hidden = scratch.hidden[scratch.hidden_count];
  hidden.width = width;
  hidden.rows = 0;
  hidden.quantise = hidden.in_rows = false;
  return scratch.hidden_count++;
}

void reserve_hidden(const Call& call, Job& job) {
  job.hidden = hidden_of_width(job.expert->width(), call.scratch);
  Hidden& hidden = call.scratch.hidden[job.hidden];
  job.first_row = hidden.rows;
  hidden.rows += std::ssize(job.slots);
  hidden.quantise |= wants_q8(job.expert->down, call.activations);
  hidden.in_rows |= reads_q8_rows(job.expert->down, call.activations);
}

// Of one hidden row: gate, up and the Q8 form.
std::int64_t hidden_row_bytes(std::int64_t width) {
  constexpr std::int64_t kQ8Columns = 32, kPadded = 256;
  const std::int64_t groups = (width + kPadded - 1) / kPadded * (kPadded / kQ8Columns);
  return 2 * width * static_cast<std::int64_t>(sizeof(float)) + groups * static_cast<std::int64_t>(sizeof(Q8Group));
}

/// Where the next part begins.
struct Cursor {
  std::size_t active = 0;  // index of the groups' active experts
  std::int64_t row = 0;    // of that expert's rows
};

/// What is left of the part that is planned.
struct Room {
  std::int64_t bytes, least_rows;
  std::int64_t rows = 0;

  /// Of `count` rows of this width: how many go into the part. Only what is larger than a part is cut.
  std::int64_t take(std::int64_t width, std::int64_t count) {
    const std::int64_t fits = std::max(bytes / hidden_row_bytes(width), least_rows - rows);
    if (count > fits) {
      if (rows > 0 || fits <= 0) return 0;
      count = std::min(count, std::max(fits / kRowsPerTask * kRowsPerTask, least_rows));
    }
    rows += count;
    bytes = std::max<std::int64_t>(0, bytes - count * hidden_row_bytes(width));
    return count;
  }
};

/// Jobs of the next part, with memory for their hidden rows.
ExpertUse plan_jobs(std::span<const ExpertWeights* const> experts, const Call& call, Cursor& at) {
  ExpertScratch& scratch = call.scratch;
  ExpertUse use;
  Room room{scratch.hidden_bytes, scratch.least_rows};
  scratch.job_count = scratch.hidden_count = 0;
  for (; at.active < call.groups.active.size(); ++at.active, at.row = 0) {
    const std::int32_t e = call.groups.active[at.active];
    const bool free = !has_weights(experts[e]->kind);
    const std::int64_t left = std::ssize(call.groups.slots_of(e)) - at.row;
    const std::int64_t rows = free ? left : room.take(experts[e]->width(), left);
    if (rows == 0) break;
    if (scratch.job_count == scratch.jobs.size()) scratch.jobs.emplace_back();
    Job& job = scratch.jobs[scratch.job_count++];
    job.id = e;
    job.expert = experts[e];
    job.slots = call.groups.slots_of(e).subspan(at.row, rows);
    job.units = call.groups.units_of(e).subspan(at.row, rows);
    job.first_place = call.groups.begin[e] + at.row;
    job.whole = false;
    if (free) {
      use.free_rows += rows;
      continue;
    }
    reserve_hidden(call, job);
    use.rows += rows;
    use.experts_read += at.row == 0 ? 1 : 0;
    use.bytes_read += at.row == 0 ? static_cast<std::int64_t>(job.expert->bytes()) : 0;
    use.flops += rows * job.expert->flops_per_row();
    if (rows < left) {
      at.row += rows;
      break;
    }
  }
  for (std::size_t i = 0; i < scratch.hidden_count; ++i) {
    Hidden& hidden = scratch.hidden[i];
    hidden.gate.resize(hidden.rows, hidden.width);
    hidden.hidden.resize(hidden.rows, hidden.width);
    hidden.inputs.assign(hidden.hidden.view());
    if (hidden.quantise) hidden.inputs.reserve_q8();
  }
  const std::size_t places = call.groups.slot.size();
  if (scratch.row_ids.size() < places) {
    scratch.row_ids.resize(places);
    std::iota(scratch.row_ids.begin(), scratch.row_ids.end(), 0);
  }
  return use;
}

void run_tasks(const Call& call, void (*body)(const Call&, Job&, const Task&, int worker)) {
  const std::vector<Task>& tasks = call.scratch.tasks;
  const std::vector<std::int64_t>& pieces = call.scratch.piece_begin;
  const auto task_at = [&](std::int64_t index, int worker) {
    const Task& task = tasks[index];
    body(call, call.scratch.jobs[task.job], task, worker);
  };
  if (pieces.empty()) return call.pool.for_each_block(std::ssize(tasks), task_at);
  const std::vector<std::int32_t>& order = call.scratch.piece_order;
  call.pool.for_each_block(std::ssize(pieces), [&](std::int64_t place, int worker) {
    const std::int64_t piece = order.empty() ? place : order[place];
    const std::int64_t end = piece + 1 < std::ssize(pieces) ? pieces[piece + 1] : std::ssize(tasks);
    for (std::int64_t index = pieces[piece]; index < end; ++index) task_at(index, worker);
  });
}

void clear_tasks(ExpertScratch& scratch) {
  scratch.tasks.clear();
  scratch.piece_begin.clear();
  scratch.piece_order.clear();
}

/// Of pieces [0, whole) and the others every thread gets its share, of the others in one run: whoever reads a matrix
/// reads on where he stopped, and nobody has all the small experts, each of which begins a new stream of memory.
void share_out_pieces(std::int64_t whole, int threads, ExpertScratch& scratch) {
  const std::int64_t others = std::ssize(scratch.piece_begin) - whole;
  if (whole == 0 || others == 0) return;
  const auto add = [&](std::int64_t first, std::int64_t count, int thread) {
    for (std::int64_t i = count * thread / threads; i < count * (thread + 1) / threads; ++i)
      scratch.piece_order.push_back(static_cast<std::int32_t>(first + i));
  };
  for (int thread = 0; thread < threads; ++thread) {
    add(whole, others, thread);
    add(0, whole, thread);
  }
}

/// Cuts a job into tasks of `block` outputs. Row blocks of the same outputs follow one another: their weights are then
/// in some cache.
void add_tasks(std::size_t job, std::int64_t rows, std::int64_t outputs, std::int64_t block, std::int64_t rows_per_task,
               std::vector<Task>& tasks) {
  for (std::int64_t begin = 0; begin < outputs; begin += block) {
    for (std::int64_t row = 0; row < rows; row += rows_per_task) {
      tasks.push_back({static_cast<std::int32_t>(job), row, std::min(row + rows_per_task, rows), begin,
                       std::min(begin + block, outputs)});
    }
  }
}

/// True where the time of an expert goes with the bytes of its weights, not with its rows.
bool has_few_rows(const Call& call) {
  constexpr std::int64_t kFewRows = 4;
  const std::span<const Job> jobs = call.scratch.active_jobs();
  return std::ranges::all_of(jobs, [](const Job& job) { return std::ssize(job.slots) <= kFewRows; });
}

/// Adds all jobs, cut into pieces of output groups: outputs_of(job) is 0 where there is nothing to do.
template <class OutputsOf>
void cut_to_pieces(const Call& call, std::int64_t group_rows, std::size_t bytes, OutputsOf outputs_of) {
  ExpertScratch& scratch = call.scratch;
  std::int64_t groups = 0;
  const auto groups_of = [&](const Job& job) { return (outputs_of(job) + group_rows - 1) / group_rows; };
  for (const Job& job : scratch.active_jobs()) groups += groups_of(job);
  const Pieces pieces(bytes, groups, call.pool.threads());
  std::int64_t at = 0, piece_end = 0, cut = 0;  // groups of all jobs; pieces so far
  for (std::size_t j = 0; j < scratch.job_count; ++j) {
    const Job& job = scratch.jobs[j];
    for (std::int64_t group = 0, own = groups_of(job); group < own;) {
      if (at == piece_end) {
        scratch.piece_begin.push_back(std::ssize(scratch.tasks));
        piece_end = pieces.begin(++cut);
      }
      const std::int64_t taken = std::min(own - group, piece_end - at);
      scratch.tasks.push_back({static_cast<std::int32_t>(j), 0, std::ssize(job.slots), group * group_rows,
                               std::min((group + taken) * group_rows, outputs_of(job))});
      group += taken, at += taken;
    }
  }
}

/// Rows [begin, end) of the places: input times weight.
void weigh_inputs(const Call& call, std::int64_t begin, std::int64_t end, bool quantise) {
  for (std::int64_t place = begin; place < end; ++place) {
    const float weight = call.plan.weight[call.groups.slot[place]];
    const std::span<const float> from = call.x.floats().row(call.groups.unit[place]);
    const std::span<float> to = call.scratch.weighted.view().row(place);
    for (std::size_t d = 0; d < to.size(); ++d) to[d] = weight * from[d];
  }
  if (quantise) call.scratch.weighted_inputs.quantise(begin, end);
}

void weigh_all_inputs(const Call& call) {
  constexpr std::int64_t kPlacesPerBlock = 16;
  ExpertScratch& scratch = call.scratch;
  const std::int64_t places = std::ssize(call.groups.slot);
  scratch.weighted.resize(places, call.x.cols());
  scratch.weighted_inputs.assign(scratch.weighted.view());
  const bool quantise = call.activations == ActivationType::kQ8;
  if (quantise) scratch.weighted_inputs.reserve_q8();
  call.pool.for_each_block((places + kPlacesPerBlock - 1) / kPlacesPerBlock, [&](std::int64_t block, int) {
    const std::int64_t begin = block * kPlacesPerBlock;
    weigh_inputs(call, begin, std::min(begin + kPlacesPerBlock, places), quantise);
  });
}

/// The overlays' products with the inputs of one side: of gate and up, or of down.
enum class Side { kFirst, kDown };

void prepare_all_overlays(const Call& call, Side side) {
  constexpr std::int64_t kRowsPerBlock = 4;
  ExpertScratch& scratch = call.scratch;
  clear_tasks(scratch);
  for (std::size_t j = 0; j < scratch.job_count; ++j) {
    Job& job = scratch.jobs[j];
    const ExpertWeights& expert = *job.expert;
    const bool first = side == Side::kFirst;
    if (first ? !expert.gate.has_overlays() && !expert.up.has_overlays() : !expert.down.has_overlays()) continue;
    const std::int64_t rows = std::ssize(job.slots);
    const int workers = call.pool.threads();
    if (first) reserve_overlays(expert.gate, rows, workers, job.gate);
    if (first) reserve_overlays(expert.up, rows, workers, job.up);
    if (!first) reserve_overlays(expert.down, rows, workers, job.down);
    add_tasks(j, rows, 1, 1, kRowsPerBlock, scratch.tasks);
  }
  if (scratch.tasks.empty()) return;
  if (side == Side::kFirst) {
    return run_tasks(call, [](const Call& c, Job& job, const Task& task, int worker) {
      const std::span<const std::int32_t> rows = c.input_rows(job);
      prepare_overlays(job.expert->gate, c.input(), rows, task.row_begin, task.row_end, worker, job.gate);
      prepare_overlays(job.expert->up, c.input(), rows, task.row_begin, task.row_end, worker, job.up);
    });
  }
  run_tasks(call, [](const Call& c, Job& job, const Task& task, int worker) {
    const std::span<const std::int32_t> rows = c.ids(job.first_row, std::ssize(job.slots));
    const ActivationRows& inputs = c.scratch.hidden[job.hidden].inputs;
    prepare_overlays(job.expert->down, inputs, rows, task.row_begin, task.row_end, worker, job.down);
  });
}

/// a * x + b * constant, (a, b) = softmax of the two rows of constant_mix times x.
void mix_constant(const ExpertWeights& expert, std::span<const float> x, std::span<float> out) {
  const std::size_t size = x.size();
  float of_x = 0.0f, of_constant = 0.0f;
  for (std::size_t d = 0; d < size; ++d) of_x += expert.constant_mix[d] * x[d];
  for (std::size_t d = 0; d < size; ++d) of_constant += expert.constant_mix[size + d] * x[d];
  const float b = 1.0f / (1.0f + std::exp(of_x - of_constant)), a = 1.0f - b;
  for (std::size_t d = 0; d < size; ++d) out[d] = a * x[d] + b * expert.constant[d];
}

/// Zero, copy and constant experts: rows are written, no matrix is read.
void fill_free_rows(const Call& call, const Job& job, const Task& task) {
  const std::span<const std::int32_t> inputs = call.input_rows(job);
  for (std::int64_t i = task.row_begin; i < task.row_end; ++i) {
    const std::span<float> to = call.out.row(job.slots[i]);
    if (job.expert->kind == ExpertKind::kZero) {
      std::fill(to.begin(), to.end(), 0.0f);
    } else if (!job.expert->constant_mix.empty()) {
      mix_constant(*job.expert, call.input().floats().row(inputs[i]), to);
    } else {
      const bool copies = job.expert->kind == ExpertKind::kCopy;
      const float* from = copies ? call.input().floats().row(inputs[i]).data() : job.expert->constant.data();
      std::copy(from, from + to.size(), to.begin());
    }
  }
}

/// slot_output[slots, begin..end) = down of one block of one expert.
void run_down_task(const Call& call, Job& job, const Task& task, int) {
  const std::int64_t rows = task.row_end - task.row_begin;
  apply(job.expert->down, {task.begin, task.end}, call.scratch.hidden[job.hidden].inputs,
        call.ids(job.first_row + task.row_begin, rows), call.out, job.slots.subspan(task.row_begin, rows), job.down,
        task.row_begin);
}

/// The matrices of a small expert are one stream of memory, its bias stands elsewhere: asked for in time, it is there.
void prefetch(std::span<const float> values) {
  constexpr std::size_t kLine = 16;  // floats
  for (std::size_t i = 0; i < values.size(); i += kLine) __builtin_prefetch(&values[i], 0, 2);
}

/// hidden[rows, begin..end) = act(gate, up) of one block of one expert, and for a whole one all the rest.
void run_first_task(const Call& call, Job& job, const Task& task, int worker) {
  const ExpertWeights& expert = *job.expert;
  if (!has_weights(expert.kind)) return fill_free_rows(call, job, task);
  if (job.whole) prefetch(expert.down.bias);
  Hidden& hidden = call.scratch.hidden[job.hidden];
  const std::int64_t rows = task.row_end - task.row_begin;
  const std::int64_t first_row = job.first_row + task.row_begin;
  const std::span<const std::int32_t> x_rows = call.input_rows(job).subspan(task.row_begin, rows);
  const std::span<const std::int32_t> to = call.ids(first_row, rows);
  const RowRange range{task.begin, task.end};
  const bool gated = expert.activation.gated;
  // In the order in which they lie in a slot: a small expert is then one stream of memory.
  if (gated) apply(expert.gate, range, call.input(), x_rows, hidden.gate.view(), to, job.gate, task.row_begin);
  apply(expert.up, range, call.input(), x_rows, hidden.hidden.view(), to, job.up, task.row_begin);
  const auto count = static_cast<std::size_t>(task.end - task.begin);
  for (std::int64_t row = first_row; row < first_row + rows; ++row) {
    const std::span<const float> gate = hidden.gate.view().row(row).subspan(task.begin, count);
    activate(expert.activation, gated ? gate : std::span<const float>(),
             hidden.hidden.view().row(row).subspan(task.begin, count));
  }
  if (!job.whole) return;
  if (hidden.in_rows) hidden.inputs.quantise(first_row, first_row + rows);
  run_down_task(call, job, {task.job, task.row_begin, task.row_end, 0, expert.down.weights.rows}, worker);
}

/// Few rows: small experts are done whole by whoever takes them, the others are cut evenly.
void run_first_of_few(const Call& call) {
  constexpr std::size_t kWholeBytes = 64 << 10;
  ExpertScratch& scratch = call.scratch;
  clear_tasks(scratch);
  std::int64_t group_rows = 1;
  std::size_t bytes = 0;
  for (std::size_t j = 0; j < scratch.job_count; ++j) {
    Job& job = scratch.jobs[j];
    if (!has_weights(job.expert->kind)) continue;
    job.whole = job.expert->bytes() <= kWholeBytes && !job.expert->down.has_overlays();
    if (job.whole) {
      scratch.piece_begin.push_back(std::ssize(scratch.tasks));
      scratch.tasks.push_back({static_cast<std::int32_t>(j), 0, std::ssize(job.slots), 0, job.expert->width()});
      continue;
    }
    const ExpertWeights& expert = *job.expert;
    group_rows = std::max(group_rows, matmul_group_rows(expert.up.weights));
    bytes += expert.up.weights.bytes() + expert.gate.weights.bytes();
  }
  const std::int64_t whole = std::ssize(scratch.piece_begin);
  cut_to_pieces(call, group_rows, bytes, [](const Job& job) {
    return job.whole ? 0 : has_weights(job.expert->kind) ? job.expert->width() : 1;
  });
  share_out_pieces(whole, call.pool.threads(), scratch);
  run_tasks(call, run_first_task);
}

void run_first(const Call& call) {
  if (has_few_rows(call)) return run_first_of_few(call);
  ExpertScratch& scratch = call.scratch;
  clear_tasks(scratch);
  for (std::size_t j = 0; j < scratch.job_count; ++j) {
    const ExpertWeights& expert = *scratch.jobs[j].expert;
    const std::int64_t rows = std::ssize(scratch.jobs[j].slots);
    if (!has_weights(expert.kind)) {
      add_tasks(j, rows, 1, 1, kRowsPerTask, scratch.tasks);
      continue;
    }
    std::int64_t block = matmul_block_rows(expert.up.weights);
    if (expert.activation.gated) block = std::min(block, matmul_block_rows(expert.gate.weights));
    add_tasks(j, rows, expert.width(), block, kRowsPerTask, scratch.tasks);
  }
  run_tasks(call, run_first_task);
}

// Whether the down matrix is still to be done when the first ones are.
bool has_down_left(const Job& job) {
  return has_weights(job.expert->kind) && !job.whole;
}

// The rows of experts that were not done whole.
void quantise_hidden(const Call& call, std::size_t index) {
  Hidden& hidden = call.scratch.hidden[index];
  const auto is_left = [&](const Job& job) { return has_down_left(job) && job.hidden == index; };
  if (!hidden.in_rows || std::ranges::none_of(call.scratch.active_jobs(), is_left)) return;
  if (hidden.rows * hidden.width <= kSerialValues) return hidden.inputs.quantise(0, hidden.rows);
  const std::int64_t per_block = std::max<std::int64_t>(1, kSerialValues / 4 / hidden.width);
  call.pool.for_each_block((hidden.rows + per_block - 1) / per_block, [&](std::int64_t block, int) {
    hidden.inputs.quantise(block * per_block, std::min((block + 1) * per_block, hidden.rows));
  });
}

void run_down_of_few(const Call& call) {
  ExpertScratch& scratch = call.scratch;
  clear_tasks(scratch);
  std::int64_t group_rows = 1;
  std::size_t bytes = 0;
  for (const Job& job : scratch.active_jobs()) {
    if (!has_down_left(job)) continue;
    group_rows = std::max(group_rows, matmul_group_rows(job.expert->down.weights));
    bytes += job.expert->down.weights.bytes();
  }
  cut_to_pieces(call, group_rows, bytes,
                [&](const Job& job) { return has_down_left(job) ? job.expert->down.weights.rows : std::int64_t{0}; });
  run_tasks(call, run_down_task);
}

void run_down(const Call& call) {
  if (has_few_rows(call)) return run_down_of_few(call);
  ExpertScratch& scratch = call.scratch;
  clear_tasks(scratch);
  for (std::size_t j = 0; j < scratch.job_count; ++j) {
    const ExpertWeights& expert = *scratch.jobs[j].expert;
    if (!has_down_left(scratch.jobs[j])) continue;
    add_tasks(j, std::ssize(scratch.jobs[j].slots), expert.down.weights.rows, matmul_block_rows(expert.down.weights),
              kRowsPerTask, scratch.tasks);
  }
  run_tasks(call, run_down_task);
}

}  // namespace

std::int64_t hidden_scratch_bytes(std::int64_t width, std::int64_t rows) {
  const std::int64_t row = hidden_row_bytes(width);
  return row * std::min(rows, std::max(ExpertScratch::kHiddenBytes / row, ExpertScratch::kLeastRows));
}

void quantise_for(const Linear& down, ActivationType activations, ActivationRows& rows) {
  if (!wants_q8(down, activations)) return;
  rows.reserve_q8();
  if (reads_q8_rows(down, activations)) rows.quantise(0, rows.rows());
}

ExpertUse run_experts(std::span<const ExpertWeights* const> experts, const RoutePlan& plan, const ExpertGroups& groups,
                      WeightOn weight_on, ActivationType activations, const ActivationRows& x, ThreadPool& pool,
                      ExpertScratch& scratch, MatrixView<float> slot_output) {
  const Call call{plan, groups, weight_on, activations, x, pool, scratch, slot_output};
  ExpertUse use;
  scratch.job_count = 0;
  if (groups.active.empty()) return use;
  if (weight_on == WeightOn::kInput) weigh_all_inputs(call);
  for (Cursor at; at.active < groups.active.size();) {
    use += plan_jobs(experts, call, at);
    prepare_all_overlays(call, Side::kFirst);
    run_first(call);
    for (std::size_t i = 0; i < scratch.hidden_count; ++i) quantise_hidden(call, i);
    prepare_all_overlays(call, Side::kDown);
    run_down(call);
  }
  return use;
}

}  // namespace junto
