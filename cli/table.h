// Tables for people, spreadsheets and programs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace junto {

enum class Align { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;  // each as long as `columns`
};

/// Markdown, padded so that it also reads well as plain text.
std::string to_markdown(const Table& table);

/// RFC 4180, with a header line.
std::string to_csv(const Table& table);

/// Columns two spaces apart, without rules; the titles in the first line.
std::string to_plain(const Table& table);

}  // namespace junto
