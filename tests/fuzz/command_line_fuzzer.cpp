// Lists of token ids, numbers and biases as they are given on the command line.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "fuzz/expect_only_errors.hpp"
#include "kvcache/sampler.hpp"
#include "logit_bias.hpp"
#include "program/whole_number.hpp"
#include "token_list.hpp"

namespace {

using namespace kvcache;

void read_ids(std::string_view text) {
  const std::vector<TokenId> ids = cli::parse_ids(text);
  if (ids.empty() || cli::parse_ids(fmt::format("{}", fmt::join(ids, ", "))) != ids) {
    std::abort();
  }
}

/// Biases that are taken, written again, are the same; a sampler takes or refuses them.
void read_biases(std::string_view text) {
  const std::vector<TokenBias> biases = cli::parse_biases(text);
  std::string written;
  for (const TokenBias& bias : biases) {
    written += fmt::format("{}{}:{}", written.empty() ? "" : ",", bias.token, bias.bias);
  }
  const std::vector<TokenBias> again = cli::parse_biases(written);
  if (biases.empty() || again.size() != biases.size()) {
    std::abort();
  }
  for (std::size_t i = 0; i < biases.size(); ++i) {
    const bool both_nan = std::isnan(biases[i].bias) && std::isnan(again[i].bias);
    if (again[i].token != biases[i].token || (again[i].bias != biases[i].bias && !both_nan)) {
      std::abort();
    }
  }
  const Sampler sampler({.logit_bias = biases});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = test::as_text(data, size);
  test::expect_only_errors([&] { read_ids(text); });
  test::expect_only_errors([&] { read_biases(text); });
  if (const auto read = cli::read_whole_number(text, 1, cli::kMaxCount)) {
    const unsigned long long number = std::stoull(std::string(text));
    if (number < 1 || number > cli::kMaxCount || number != *read) {
      std::abort();
    }
  }
  return 0;
}
