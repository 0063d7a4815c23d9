// Lists of token ids and numbers as they are given on the command line.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "fuzz/expect_only_errors.hpp"
#include "program/whole_number.hpp"
#include "token_list.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvcache;
  const std::string_view text = test::as_text(data, size);
  test::expect_only_errors([&] {
    const std::vector<TokenId> ids = cli::parse_ids(text);
    if (ids.empty() || cli::parse_ids(fmt::format("{}", fmt::join(ids, ", "))) != ids) {
      std::abort();
    }
  });
  if (cli::is_whole_number(text, 1, cli::kMaxCount)) {
    const unsigned long long number = std::stoull(std::string(text));
    if (number < 1 || number > cli::kMaxCount) {
      std::abort();
    }
  }
  return 0;
}
