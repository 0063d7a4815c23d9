// kvcache bench --mode save: loading a saved sequence against computing it.

#include <fmt/format.h>
#include <stdlib.h>  // mkdtemp

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "bench_mode.hpp"
#include "report/format.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDefaultSaved = 1000;

/// A directory of this process that goes with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "kvcache-bench-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(),
                              fmt::format("cannot make a directory {}", pattern));
    }
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

}  // namespace

BenchReport bench_save(const Model& model, const BenchOptions& options) {
  const std::size_t positions = model.info().max_seq_len;
  const std::size_t length = options.prompt.value_or(std::min(kDefaultSaved, positions - 1));
  check_positions(fmt::format("the tokens of --prompt {} and one more", length), length + 1, model);
  const std::vector<TokenId> prompt = prompt_of(length, model);
  const TemporaryDirectory directory;
  const fs::path file = directory.path() / "state";
  BenchReport report;
  report.agreement = new_agreement(model);

  std::vector<double> compute_ms;
  std::vector<double> save_ms;
  std::vector<double> load_ms;
  for (std::size_t round = 0; round <= options.repeat; ++round) {
    options.progress(
        {fmt::format("round {} of {}", round, options.repeat), round, options.repeat + 1});
    Sequence computed = model.new_sequence();
    const double compute = time_of([&] { computed.extend(prompt); });
    const double save = time_of([&] { computed.save(file); });
    computed.reset();
    Sequence loaded = model.new_sequence();
    const double load = time_of([&] { loaded = model.load_sequence(file); });
    if (round == 0) {  // warms up
      const TokenId next = 1;
      const Logits logits = loaded.extend({&next, 1});
      compare_with_uncached(model, loaded.tokens(), logits.last(), report.agreement);
      continue;
    }
    compute_ms.push_back(compute);
    save_ms.push_back(save);
    load_ms.push_back(load);
  }

  const std::vector<double> faster = ratios(compute_ms, load_ms);
  const auto bytes = fs::file_size(file);
  report.json = {{"prompt", length},
                 {"file_bytes", bytes},
                 {"compute", report::times_to_json(compute_ms)},
                 {"save", report::times_to_json(save_ms)},
                 {"load", report::times_to_json(load_ms)},
                 {"load_over_compute", ratio_to_json(faster)}};
  report::Table table(
      {fmt::format("{} tokens, {}", length, report::format_bytes(bytes)), "Median ms"});
  table.add_row({"compute", fmt::format("{:.1f}", report::median(compute_ms))});
  table.add_row({"save", fmt::format("{:.1f}", report::median(save_ms))});
  table.add_row({"load", fmt::format("{:.1f}", report::median(load_ms))});
  report.text =
      fmt::format("{}\nLoading is faster by {}\n", table.to_string(), format_ratio(faster));
  return report;
}

}  // namespace kvcache::cli
