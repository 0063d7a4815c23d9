// The JSON file of kvcache eval-tree --tree. What is read, written as JSON, is read again.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>

#include "fuzz/expect_only_errors.hpp"
#include "fuzz/json_mutator.hpp"
#include "tree_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvcache;
  test::expect_only_errors([&] {
    const TokenTree tree = cli::parse_tree(test::as_text(data, size), "tree.json");
    for (const std::int32_t parent : tree.parents) {
      if (parent < -1) {
        std::abort();
      }
    }
    const TokenTree again =
        cli::parse_tree(fmt::format(R"({{"tokens": [{}], "parents": [{}]}})",
                                    fmt::join(tree.tokens, ","), fmt::join(tree.parents, ",")),
                        "again.json");
    if (again.tokens != tree.tokens || again.parents != tree.parents) {
      std::abort();
    }
  });
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  return kvcache::test::JsonMutator(seed).mutate(data, size, most);
}
