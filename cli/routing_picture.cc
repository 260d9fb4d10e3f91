#include "cli/routing_picture.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <variant>

#include "cli/terminal.h"

namespace junto {
namespace {

constexpr int kTokenColumns = 14;
constexpr const char* kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr const char* kNothing = "·";
constexpr const char* kFree = "○";  // an expert without weights: zero, copy, constant
/// Colours of the 256 that differ well on dark and light ground.
constexpr int kColours[] = {33, 208, 35, 161, 99, 178, 37, 203, 64, 135, 172, 69};

/// One router of the picture.
struct Panel {
  const RoutedBlock* routed = nullptr;
  int experts = 0;
  std::vector<ExpertKind> kinds;  // [E] or empty
  std::string title;
};

std::vector<Panel> panels_of(const ModelConfig& config, const std::vector<const RoutedBlock*>& routed) {
  std::vector<Panel> panels;
  for (const RoutedBlock* one : routed) {
    const BlockSpec& block = config.blocks[static_cast<std::size_t>(one->block)];
    Panel panel;
    panel.routed = one;
    panel.title = (one->mixer ? "attn " : "layer ") + std::to_string(one->layer);
    if (one->mixer) {
      panel.experts = std::get<ExpertAttentionSpec>(block.mixer).router.experts;
    } else {
      panel.experts = block.moe.router.experts;
      panel.kinds = block.moe.kinds;
    }
    panels.push_back(std::move(panel));
  }
  return panels;
}

struct Painter {
  bool colour;

  std::string expert(std::string_view text, int expert) const {
    if (!colour) return std::string(text);
    const int code = kColours[static_cast<std::size_t>(expert) % std::size(kColours)];
    return "\033[38;5;" + std::to_string(code) + "m" + std::string(text) + "\033[0m";
  }
  std::string faint(std::string_view text) const {
    return colour ? "\033[2m" + std::string(text) + "\033[0m" : std::string(text);
  }
};

const char* bar(double share) {
  const auto level = static_cast<int>(std::ceil(share * 8)) - 1;
  return kBars[std::clamp(level, 0, 7)];
}

/// One character for each expert of a row.
std::string grid_cell(const Panel& panel, std::int64_t row, const Painter& paint) {
  const auto experts = panel.routed->plan.experts_of(row);
  const auto weights = panel.routed->plan.weights_of(row);
  float highest = 0;
  for (const float w : weights) highest = std::max(highest, std::abs(w));
  std::vector<std::string> cells(static_cast<std::size_t>(panel.experts), paint.faint(kNothing));
  for (std::size_t i = 0; i < experts.size(); ++i) {
    const auto e = static_cast<std::size_t>(experts[i]);
    const bool free = e < panel.kinds.size() && panel.kinds[e] != ExpertKind::kFfn;
    cells[e] = paint.expert(free ? kFree : bar(highest > 0 ? std::abs(weights[i]) / highest : 0), experts[i]);
  }
  std::string out;
  for (const std::string& cell : cells) out += cell;
  return out;
}

/// The load of each expert over all rows, as a bar of the largest load of the layer.
std::string load_cell(const Panel& panel, const Painter& paint) {
  std::vector<std::int64_t> load(static_cast<std::size_t>(panel.experts));
  for (const std::int32_t e : panel.routed->plan.expert) ++load[static_cast<std::size_t>(e)];
  const double highest = static_cast<double>(std::max<std::int64_t>(1, *std::ranges::max_element(load)));
  std::string out;
  for (int e = 0; e < panel.experts; ++e) {
    const double share = static_cast<double>(load[static_cast<std::size_t>(e)]) / highest;
    out += share > 0 ? paint.expert(bar(share), e) : paint.faint(kNothing);
  }
  return out;
}

/// The ids of the heaviest `shown` experts of a row, each `digits` wide.
std::string list_cell(const Panel& panel, std::int64_t row, int shown, int digits, const Painter& paint) {
  const auto experts = panel.routed->plan.experts_of(row);
  std::string out;
  for (int i = 0; i < shown; ++i) {
    if (i > 0) out += ' ';
    if (i >= static_cast<int>(experts.size())) {
      out += std::string(static_cast<std::size_t>(digits - 1), ' ') + paint.faint(kNothing);
      continue;
    }
    std::string id = std::to_string(experts[static_cast<std::size_t>(i)]);
    id.insert(0, static_cast<std::size_t>(std::max(0, digits - static_cast<int>(id.size()))), ' ');
    out += paint.expert(id, experts[static_cast<std::size_t>(i)]);
  }
  return out;
}

/// What stands beside each other: either a column for each expert, or lists of ids for some layers.
struct Layout {
  bool grid = true;
  std::vector<Panel> panels;
  int shown = 0;   // experts of a list
  int digits = 0;  // of an id

  int cell_width(const Panel& panel) const { return grid ? panel.experts : shown * (digits + 1) - 1; }
  int column_width(const Panel& panel) const { return std::max(cell_width(panel), display_width(panel.title)); }
};

int total_width(const Layout& layout) {
  int width = kTokenColumns;
  for (const Panel& panel : layout.panels) width += 1 + layout.column_width(panel);
  return width;
}

Layout layout_of(std::vector<Panel> panels, int width) {
  Layout layout{true, panels, 0, 0};
  if (total_width(layout) <= width) return layout;
  int most = 1, k = 1;
  for (const Panel& panel : panels) {
    most = std::max(most, panel.experts);
    k = std::max(k, widest_row(panel.routed->plan));
  }
  layout.grid = false;
  layout.digits = static_cast<int>(std::to_string(most - 1).size());
  layout.shown = std::min(k, 4);
  if (total_width(layout) > width) layout.shown = std::min(k, 2);
  // Still too wide: evenly chosen layers, the first and the last among them.
  for (std::size_t count = panels.size(); total_width(layout) > width && count > 1;) {
    --count;
    layout.panels.clear();
    for (std::size_t i = 0; i < count; ++i) {
      layout.panels.push_back(panels[count == 1 ? 0 : i * (panels.size() - 1) / (count - 1)]);
    }
  }
  return layout;
}

std::string caption(const Layout& layout, std::size_t all_panels) {
  if (layout.grid) {
    return "Experts of each token: a column for each expert, bars by weight (" + std::string(kNothing) +
           " not chosen)\n";
  }
  std::string text = "Experts of each token, heaviest first";
  if (layout.panels.size() < all_panels) {
    text += "; " + std::to_string(layout.panels.size()) + " of " + std::to_string(all_panels) + " layers";
  }
  return text + "\n";
}

std::string row_text(const Layout& layout, const std::string& label, const std::vector<std::string>& cells) {
  std::string out = fitted(label, kTokenColumns);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const Panel& panel = layout.panels[i];
    const int space = layout.column_width(panel) - layout.cell_width(panel);
    out += " " + cells[i];
    if (i + 1 < cells.size()) out += std::string(static_cast<std::size_t>(space), ' ');
  }
  return out + "\n";
}

}  // namespace

std::string draw_routing(const ModelConfig& config, const std::vector<const RoutedBlock*>& routed,
                         const std::vector<std::string>& tokens, const RoutingPicture& picture) {
  if (routed.empty()) return "No layer of this model is routed.\n";
  const Painter paint{picture.colour};
  const Layout layout = layout_of(panels_of(config, routed), std::max(picture.width, kTokenColumns + 8));
  std::string out = caption(layout, routed.size()) + std::string(kTokenColumns, ' ');
  for (const Panel& panel : layout.panels) out += " " + fitted(panel.title, layout.column_width(panel));
  out.erase(out.find_last_not_of(' ') + 1);
  out += "\n";

  std::int64_t rows = static_cast<std::int64_t>(tokens.size());
  for (const RoutedBlock* one : routed) rows = std::min(rows, one->plan.units());
  const std::int64_t head = rows > picture.most_rows ? picture.most_rows / 2 : rows;
  const std::int64_t tail = rows > picture.most_rows ? rows - picture.most_rows / 2 : rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    if (row == head && tail > head) {
      out += "... " + std::to_string(tail - head) + " more tokens\n";
      row = tail;
    }
    std::vector<std::string> cells;
    for (const Panel& panel : layout.panels) {
      cells.push_back(layout.grid ? grid_cell(panel, row, paint)
                                  : list_cell(panel, row, layout.shown, layout.digits, paint));
    }
    out += row_text(layout, tokens[static_cast<std::size_t>(row)], cells);
  }
  if (layout.grid) {
    std::vector<std::string> cells;
    for (const Panel& panel : layout.panels) cells.push_back(load_cell(panel, paint));
    out += row_text(layout, "load", cells);
  }
  return out;
}

}  // namespace junto
