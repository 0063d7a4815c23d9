// The JSON file of kvcache eval-tree --tree.
#include <cstdlib>

#include "fuzz/expect_only_errors.hpp"
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
  });
  return 0;
}
