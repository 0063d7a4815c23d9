// The files that kvcache view and compare read: whatever is drawn of them holds no markup of
// theirs.
#include <cstdlib>
#include <string>
#include <vector>

#include "fuzz/expect_only_errors.hpp"
#include "fuzz/json_mutator.hpp"
#include "report/bench_comparison.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/bench_page.hpp"
#include "report/html/compare_page.hpp"
#include "report/html/tree_page.hpp"

namespace kvcache::test {
namespace {

/// A page has no script, and no place that is not a number.
void expect_harmless(const std::string& page) {
  for (const char* never : {"<script", "<img", "nan%", "inf%"}) {
    expect(page.find(never) == std::string::npos);
  }
}

}  // namespace
}  // namespace kvcache::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvcache;
  const JsonSource source = report::html::bench_source("a.json");
  test::expect_only_errors([&] {
    const JsonDocument document(test::as_text(data, size), source);
    const JsonValue root = document.root();
    test::expect_only_errors([&] {
      const auto benches = report::html::benches_of(root);
      test::expect_harmless(report::html::bench_page(benches, {}));
      const report::html::ComparedRuns runs{"a", "b", benches, benches};
      const report::BenchComparison comparison = report::compare_benches(benches, benches);
      for (const report::FigureComparison& figure : comparison.figures) {
        test::expect(figure.verdict != report::Verdict::smaller);
        test::expect(figure.verdict != report::Verdict::larger);
      }
      test::expect_harmless(report::html::compare_page(runs, comparison));
    });
    test::expect_only_errors([&] { test::expect_harmless(report::html::bench_page({}, {root})); });
    test::expect_only_errors(
        [&] { test::expect_harmless(report::html::token_tree_page("a", root)); });
    test::expect_only_errors(
        [&] { test::expect_harmless(report::html::search_page("a", {root}, 0)); });
  });
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  return kvcache::test::JsonMutator(seed).mutate(data, size, most);
}
